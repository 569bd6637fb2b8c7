"""What a control is: one thing that must be true of a host, written once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hostguard.host.resource import Resource
from hostguard.policy import Policy
from hostguard.policy.sizing import Sizing
from hostguard.status import Severity, Status

Request = Mapping[str, Any]
"""What a judging control asks of a host: see hostguard.host.evidence."""


ARTICLE, MANUAL = "article", "manual"
ARTICLE_TITLE = "How to Safely Integrate Third Party API Endpoints"
"""The article that the catalogue grows from. Said once in a report: the word alone means nothing to an auditor."""
PCI = "PCI DSS 4.0.1"
SOC2 = "SOC 2 TSC 2017"
"""The trust services criteria of 2017; the points of focus of 2022 left them as they are."""
CIS_DEBIAN = "CIS Debian Linux 12 Benchmark 1.1.0"
CIS_CONTROLS = "CIS Controls 8"
NIST = "NIST SP 800-53 rev 5"


@dataclass(frozen=True)
class Reference:
    """Who asks for it: a document, the place in it, and why the control answers it where its reader would wonder.

    A wrong one misleads an audit: it stands where the requirement's own words ask for this, and nowhere else.
    """

    source: str
    section: str
    fits: str = ""

    def __str__(self) -> str:
        return f"{self.source}: {self.section}"


def article(section: str, fits: str = "") -> Reference:
    """A section of the article on integrating third-party APIs that the catalogue grows from."""
    return Reference(ARTICLE, section, fits)


def manual(section: str) -> Reference:
    """A page of the Linux manual or of systemd's."""
    return Reference(MANUAL, section)


def pci(requirement: str, fits: str = "") -> Reference:
    return Reference(PCI, requirement, fits)


def soc2(criterion: str, fits: str = "") -> Reference:
    return Reference(SOC2, criterion, fits)


def cis_debian(recommendation: str, fits: str = "") -> Reference:
    return Reference(CIS_DEBIAN, recommendation, fits)


def cis_controls(safeguard: str, fits: str = "") -> Reference:
    return Reference(CIS_CONTROLS, safeguard, fits)


def nist(control: str, fits: str = "") -> Reference:
    return Reference(NIST, control, fits)


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
    preferred: bool = False
    """Whether the policy only prefers it: that it does not hold is told, and fails nothing by itself."""


MOST_SHOWN = 5
"""Faults that a verdict names; the others are counted."""


def verdict(expected: str, found: Sequence[str], well: str) -> Verdict:
    """It fails for whatever was found; `well` is said if nothing was."""
    return Verdict("fail", expected, first_of(found)) if found else Verdict("pass", expected, well)


def first_of(found: Sequence[str]) -> str:
    more = f"; and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    return "; ".join(found[:MOST_SHOWN]) + more


@dataclass(frozen=True)
class Weakening:
    """A value of the policy with which a control can hold and still not give what its title says.

    `key` is its path in the policy, `means` what follows from it, and `line` where it stands (0: not in the file).
    `off`: the control is not asked at all because of it.
    """

    key: tuple[str, ...]
    found: str
    means: str
    off: bool = False
    line: int = 0

    def __str__(self) -> str:
        return f"{'.'.join(self.key)}: {self.found}"


def never(_context: Context) -> Iterable[Weakening]:
    """Of a control that no value of a policy weakens."""
    return ()


@dataclass(frozen=True, kw_only=True)
class Control:
    """The text of a control. `id` is `area.name`, stable for ever; the area is the policy section that asks."""

    id: str
    title: str
    severity: Severity
    rationale: str
    remediation: str
    references: tuple[Reference, ...]
    beyond_article: str = ""
    """Why it is here where no section of the article asks for it."""
    weakened: Callable[[Context], Iterable[Weakening]] = never
    """What in the policy takes from it what its title says: with any of these it is waived where it would pass."""

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


@dataclass(frozen=True, kw_only=True)
class Area:
    """A section of the policy, and all that is said of it: the catalogue, the plugins and the roles derive from it."""

    name: str
    controls: tuple[Control, ...]
    least: Any
    """The least of the section with which each control that wants resources wants one: for the documentation."""
    without: str
    """How a policy does without one of its controls."""
    role: str
    """The Ansible role that speaks for it alone."""
    does: str
    """What that role is for, in a line."""
    reads: tuple[str, ...] = ()
    """Other sections of a policy, or keys of one, that its controls look at."""

    @property
    def checks_only(self) -> bool:
        """Whether apply changes nothing of it."""
        return not any(isinstance(control, WantingControl) for control in self.controls)
