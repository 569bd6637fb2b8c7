"""What a host may answer to each question."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class PolicyName(TypedDict):
    path: str
    sha256: str


class Snapshot(TypedDict):
    """Of `read` and `image`. What is in it is looked at one by one: see `observed` and `evidence`."""

    resources: list[Any]
    observations: dict[str, Any]
    leftovers: list[Wanted] | None
    evidence: dict[str, Any]


class Wanted(TypedDict):
    """As much of a resource as they all have."""

    id: str
    kind: str
    control: str


class Generation(TypedDict):
    number: int
    created: str
    policy: PolicyName


class Record(Generation):
    status: str
    by: str
    changes: int
    to: int | None


class History(TypedDict):
    records: list[Record]


class FileTrace(TypedDict):
    changed: str
    owner: str
    package: str | None


class Traces(TypedDict):
    setters: dict[str, dict[str, str]]
    files: dict[str, FileTrace]
    started: dict[str, str]


class Drift(TypedDict):
    generation: Generation
    resources: list[Wanted]
    observations: dict[str, Any]
    leftovers: list[Wanted] | None
    evidence: dict[str, Any]
    traces: Traces


class Outcome(TypedDict):
    outcome: str


class Told(Outcome):
    changes: list[tuple[str, str, str, str, str, str]]
    owed: list[str]
    missing: NotRequired[list[str]]
    outlived: NotRequired[list[str]]


class Blocked(Outcome):
    obstacles: list[str]


class Done(Told):
    generation: int
    session: NotRequired[str]


class Failed(Outcome):
    generation: int
    trouble: list[str]
    error: NotRequired[str]
    restarted: NotRequired[list[str]]


class Confirmed(Outcome):
    generation: int


class RolledBack(Told):
    generation: int
    to: int
    undone: list[int]
    unseen: NotRequired[str]


class WouldGoBack(Outcome):
    changes: list[tuple[str, str, str, str, str, str]]
    to: int
    gone: list[int]
    undone: list[int]


class Proven(TypedDict):
    status: Literal["held", "out", "unknown", "absent"]
    evidence: str


class Proof(TypedDict):
    results: list[Proven]


class Login(TypedDict):
    files: dict[str, Literal["there", "absent", "other", "written"]]


class Refusal(TypedDict):
    error: str
    late: NotRequired[bool]
    """Nothing waits to be confirmed any more."""


SCHEMAS: dict[str, Any] = {
    "read": Snapshot,
    "image": Snapshot,
    "history": History,
    "drift": Drift,
    "confirm": Confirmed,
    "prove": Proof,
    "login": Login,
    "apply": {"unchanged": Told, "would change": Told, "blocked": Blocked, "failed": Failed, "unconfirmed": Done,
              "applied": Done},
    "rollback": {"rolled back": RolledBack, "unchanged": RolledBack, "unconfirmed": RolledBack, "failed": Failed,
                 "would change": WouldGoBack},
}  # fmt: skip
"""By what was asked; where there is more than one, by the outcome that the answer tells."""
