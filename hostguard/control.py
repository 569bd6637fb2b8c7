"""What a control is: one thing that must be true of a host, written once."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hostguard.host.resource import Resource
from hostguard.policy import Policy
from hostguard.policy.sizing import Sizing

Status = Literal["pass", "fail", "unknown", "waived", "not_applicable"]
Request = Mapping[str, Any]
"""What a judging control asks of a host: see hostguard.host.evidence."""


class Severity(enum.StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True)
class Reference:
    """Who asks for it: a document and the place in it."""

    source: str
    section: str

    def __str__(self) -> str:
        return f"{self.source}: {self.section}"


def article(section: str) -> Reference:
    """A section of the article on integrating third-party APIs that the catalogue grows from."""
    return Reference("article", section)


def manual(section: str) -> Reference:
    """A page of the Linux manual or of systemd's."""
    return Reference("manual", section)


@dataclass(frozen=True)
class Context:
    """All that a control may look at on the controller."""

    policy: Policy
    sizing: Sizing


@dataclass(frozen=True)
class Verdict:
    """What a judging control makes of its evidence."""

    status: Status
    expected: str
    actual: str
    severity: Severity | None = None
    """Set where it is not the control's own, as for a `preferred` check that does not hold."""


@dataclass(frozen=True, kw_only=True)
class Control:
    """The text of a control. `id` is `area.name`, stable for ever; the area is the policy section that asks."""

    id: str
    title: str
    severity: Severity
    rationale: str
    remediation: str
    references: tuple[Reference, ...]

    @property
    def area(self) -> str:
        return self.id.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class WantingControl(Control):
    """A control that wants resources: plan, apply, audit and rollback all follow from them."""

    wants: Callable[[Context], Sequence[Resource]]


@dataclass(frozen=True, kw_only=True)
class JudgingControl(Control):
    """A control that judges evidence, and has no fix."""

    asks: Callable[[Context], Mapping[str, Request]]
    judges: Callable[[Context, Mapping[str, Any]], Verdict]
    """Called with what was said to each request, once all of them were answered."""
    evidence: str
    """Where the host was asked, for the reader of a report."""
