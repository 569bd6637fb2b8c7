"""What an audit says: a result a control and host, and what a gate makes of them (pure)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from hostguard.control import Control, Reference, Weakening
from hostguard.policy import Waiver
from hostguard.status import STATUSES, Exit, Severity, Status

ROOT = re.compile(r"\broot\b|[Pp]ermission denied(?! \()|Operation not permitted")
"""How a host says that it would tell root more. Before brackets it is ssh's word, of keys and passwords."""


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was applied; `since` (RFC 3339, UTC) is "" where that is not known."""

    what: str
    since: str
    by: str


@dataclass(frozen=True)
class Deviation:
    """One field of one resource that is not as wanted; `resource` is its id, `place` where it is on the host.

    `blocked` says why an apply can't mend it, `restart` names the unit that keeps the old value until it is restarted.
    """

    resource: str
    place: str
    field: str
    have: str
    want: str
    blocked: str = ""
    restart: str = ""


@dataclass(frozen=True)
class Result:
    """One control on one host."""

    control: Control
    status: Status
    severity: Severity
    expected: str
    actual: str
    evidence: str
    waiver: Waiver | None = None
    """Who accepted that it fails. In force where the status is `waived`; where it is `fail` it has expired."""
    weakened: tuple[Weakening, ...] = ()
    """What in the policy itself keeps it from passing: with any its status is `waived`, named waiver or not."""
    preferred: bool = False
    """Whether the policy only prefers it."""
    before: Status | None = None
    """Its status in the baseline, if it has one there."""
    deviations: tuple[Deviation, ...] = ()
    """What differs, field by field, where the control wants resources. `actual` says the first of it in words."""
    drift: tuple[Change, ...] = ()
    """What has changed since the last apply, where that was asked."""

    @property
    def known(self) -> bool:
        """Whether it fails, and failed in the baseline already."""
        return self.status == self.before == "fail"

    @property
    def decides(self) -> bool:
        """Whether it fails, and a gate may fail by it: it is new, and more than preferred."""
        return self.status == "fail" and not self.known and not self.preferred

    @property
    def owed(self) -> bool:
        """Whether it fails, and restarts of services are all that is left to do."""
        return self.status == "fail" and bool(self.deviations) and all(each.restart for each in self.deviations)

    @property
    def wants_root(self) -> bool:
        """Whether it was not seen, and root would have seen it."""
        return self.status == "unknown" and ROOT.search(self.actual) is not None

    @property
    def remediation(self) -> str:
        """What to do: of what was not seen, what makes it seen."""
        if self.status != "unknown":
            return self.control.remediation
        if self.wants_root:
            return "Run the audit as root."
        return "See to it that it can be read, and audit again: what was not seen may be well."

    @property
    def references(self) -> tuple[Reference, ...]:
        """The requirements that it bears on: none where the policy itself keeps it from answering them."""
        return () if self.weakened else self.control.references


@dataclass(frozen=True)
class HostReport:
    host: str
    results: tuple[Result, ...]

    def count(self) -> dict[Status, int]:
        found = Counter(result.status for result in self.results)
        return {status: found[status] for status in STATUSES}

    def known(self) -> int:
        return sum(result.known for result in self.results)

    def failing(self) -> tuple[Result, ...]:
        """What fails, and decides: see Result.decides."""
        return tuple(result for result in self.results if result.decides)


@dataclass(frozen=True)
class Report:
    """An audit: when (RFC 3339, UTC), against which policy, and what was seen on each host.

    The policy's path and sum are "" where hosts were compared with what was applied to them from several.
    """

    generated: str
    policy_path: str
    policy_sha256: str
    hosts: tuple[HostReport, ...]
    warnings: tuple[str, ...] = ()
    """What deserves a word, and is no result."""
    policy_lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    """Where in the policy's file a section, and each of its keys, stands."""
    folder: str = ""
    """Where the audit was asked for: a relative path of the policy begins there."""
    compared: bool = False
    """Whether a baseline was given."""

    def count(self) -> dict[Status, int]:
        counts = [host.count() for host in self.hosts]
        return {status: sum(count[status] for count in counts) for status in STATUSES}

    def known(self) -> int:
        return sum(host.known() for host in self.hosts)

    def failing(self) -> tuple[Result, ...]:
        """What fails, and decides: see Result.decides."""
        return tuple(result for host in self.hosts for result in host.failing())

    def preferred(self) -> int:
        """How many fail that the policy only prefers."""
        return sum(r.status == "fail" and r.preferred for host in self.hosts for r in host.results)

    def wants_root(self) -> int:
        """How many were not seen that root would see."""
        return sum(result.wants_root for host in self.hosts for result in host.results)

    def exit(self, gate: Severity = Severity.LOW) -> Exit:
        """What fails below the gate, was known, or is only preferred fails nothing; what was not seen never passes."""
        if any(result.severity.reaches(gate) for result in self.failing()):
            return Exit.FAILED
        return Exit.UNSEEN if self.count()["unknown"] else Exit.WELL
