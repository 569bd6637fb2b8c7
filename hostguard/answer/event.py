"""What a host may tell while it is listened to."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class Process(TypedDict):
    pid: NotRequired[int]
    command: NotRequired[str]
    exe: NotRequired[str]
    unit: NotRequired[str]


class Ready(TypedDict):
    at: float
    mode: Literal["enforce", "observe"]
    no_names: str


class Gathered(TypedDict):
    at: float
    found: dict[str, Any]


Attempt = TypedDict("Attempt", {
    "id": int, "at": float, "account": str, "process": Process, "verdict": str, "hook": str, "answer": bool,
    "protocol": str, "from": str, "from_port": int, "to": str, "port": int, "refusal": bool, "ending": bool,
})  # fmt: skip


class Again(TypedDict):
    id: int
    at: float
    attempts: int
    packets: int


class Lost(TypedDict):
    at: float
    packets: int
    why: Literal["flood", "crowd", "lines", "odd", "kinds"]


class Name(TypedDict):
    message: str


class OfGateway(TypedDict):
    at: float
    state: Literal["followed", "off", "missing", "unreadable"]
    why: str
    log: str


class FailedRequest(TypedDict):
    id: int
    at: float
    provider: str
    users: list[str]
    status: int
    flags: str
    detail: str
    refused: str
    failure: str
    host: str
    tries: int
    retry_after: str


class Beat(TypedDict):
    pass


EVENTS: dict[str, Any] = {"ready": Ready, "evidence": Gathered, "attempt": Attempt, "again": Again, "lost": Lost,
                          "answer": Name, "gateway": OfGateway, "failed": FailedRequest, "beat": Beat}  # fmt: skip
