"""Bundle × snapshot → report, and the only table of exit codes."""

from __future__ import annotations

import enum
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, get_args

from hostguard.bundle import Compiled
from hostguard.control import Control, JudgingControl, Reference, Severity, Status, WantingControl, Weakening
from hostguard.controls import CATALOGUE
from hostguard.host.kinds import KINDS
from hostguard.host.resource import ABSENT, MISSING, NOT_RUNNING, UNREADABLE, VALUE, Difference, Resource
from hostguard.policy import Waiver
from hostguard.seen import Seen, in_words_of, where
from hostguard.visible import cut

ROOT = re.compile(r"\broot\b|[Pp]ermission denied|Operation not permitted")
"""How a host says that it would tell root more."""
STATUSES: tuple[Status, ...] = get_args(Status)
MOST_SHOWN = 3


class Exit(enum.IntEnum):
    """What a command's exit code says."""

    WELL = 0
    FAILED = 1
    """A control fails, or a host was rolled back."""
    CALL = 2
    """The call or the policy is wrong; nothing was touched."""
    UNSEEN = 3
    """Something could not be checked or reached."""
    ITSELF = 4
    """hostguard itself failed, or its result could not be written: nothing is known of the host."""


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was applied; `since` (RFC 3339, UTC) is "" where that is not known."""

    what: str
    since: str
    by: str


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
    def remediation(self) -> str:
        """What to do: of what was not seen, what makes it seen."""
        if self.status != "unknown":
            return self.control.remediation
        if ROOT.search(self.actual):
            return "Run the audit as root: sudo hostguard audit."
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

    def exit(self, gate: Severity = Severity.LOW) -> Exit:
        """What fails below the gate, was known, or is only preferred fails nothing; what was not seen never passes."""
        if any(result.severity.reaches(gate) for result in self.failing()):
            return Exit.FAILED
        return Exit.UNSEEN if self.count()["unknown"] else Exit.WELL


def judge(compiled: Compiled, host: str, seen: Seen, catalogue: Iterable[Control] = CATALOGUE) -> HostReport:
    """The verdict of every control of the catalogue on one host."""
    by_control: dict[str, list[Resource]] = {}
    for resource in seen.resources:
        by_control.setdefault(resource["control"], []).append(resource)
    return HostReport(
        host, tuple(_safely_judged(compiled, control, by_control.get(control.id, []), seen) for control in catalogue)
    )


def unreached(compiled: Compiled, host: str, reason: str, catalogue: Iterable[Control] = CATALOGUE) -> HostReport:
    """A host that did not answer: whatever its policy manages is unknown, and nothing of it passes."""
    return HostReport(
        host,
        tuple(
            Result(control, "unknown", control.severity, "", reason, "")
            if control.area in compiled.loaded.policy.sections
            else _judge(compiled, control, [], Seen((), {}, {}))
            for control in catalogue
        ),
    )


def _safely_judged(compiled: Compiled, control: Control, resources: list[Resource], seen: Seen) -> Result:
    try:
        return _judge(compiled, control, resources, seen)
    except Exception as error:  # whatever a host's odd value makes of it: it was not seen
        return cant_judge(control, error)


def cant_judge(control: Control, error: Exception) -> Result:
    said = f"what the host says of it can't be judged: {in_words_of(error)}"
    return Result(control, "unknown", control.severity, "", said, "")


def _judge(compiled: Compiled, control: Control, resources: list[Resource], seen: Seen) -> Result:
    if control.area not in compiled.loaded.policy.sections:
        said = f"the policy has no section `{control.area}`"
        return Result(control, "not_applicable", control.severity, "", said, "")
    if compiled.areas is not None and control.area not in compiled.areas:
        return Result(control, "not_applicable", control.severity, "", "of an area that was not asked about", "")
    if isinstance(control, JudgingControl):
        return _unless_weakened(compiled, _of_evidence(compiled, control, seen))
    assert isinstance(control, WantingControl)  # noqa: S101 - a control is one or the other
    return _unless_weakened(compiled, of_resources(control, resources, seen))


def _unless_weakened(compiled: Compiled, result: Result) -> Result:
    """What holds because the policy asks for less, or is not asked for at all, is waived by the policy: no pass.

    What fails or was not seen stays so.
    """
    found = tuple(compiled.weakened(result.control))
    waives = result.status == "pass" or (result.status == "not_applicable" and any(each.off for each in found))
    return replace(result, status="waived", weakened=found) if found and waives else result


def _of_evidence(compiled: Compiled, control: JudgingControl, seen: Seen) -> Result:
    said: dict[str, Any] = {}
    for name in compiled.evidence[control.id]:
        answer = seen.evidence.get(f"{control.id}/{name}", {"unreadable": "the host did not answer"})
        if "not_running" in answer:
            return Result(control, "not_applicable", control.severity, "", cut(answer["not_running"]), control.evidence)
        if "unreadable" in answer:
            return Result(control, "unknown", control.severity, "", cut(answer["unreadable"]), control.evidence)
        said[name] = answer["said"]
    verdict = control.judges(compiled.context, said)
    severity = verdict.severity or control.severity
    said_of_it = (verdict.expected, cut(verdict.actual), control.evidence)
    return Result(control, verdict.status, severity, *said_of_it, preferred=verdict.preferred)


def of_resources(control: WantingControl, resources: list[Resource], seen: Seen) -> Result:
    """A control fails if any of its resources differs, or is named by the policy and not on the host; it is unknown if
    any could not be read, and passes only if all of them were seen as wanted. What does not apply (a service that does
    not run now) decides nothing."""
    differences = [(r, seen.differ(r)) for r in resources]
    wrong = [(r, found) for r, found in differences if found]
    unread = [seen.observations[r["id"]] for r in resources if seen.observations[r["id"]].state == UNREADABLE]
    looked = [r for r in resources if seen.observations[r["id"]].state in (VALUE, ABSENT)]
    evidence = "; ".join(dict.fromkeys(where(r) for r in ([r for r, _ in wrong] or resources)[:MOST_SHOWN]))
    named = [r for r, _ in wrong] or looked
    expected = _some([_wanted(r, alone=len(named) == 1) for r in named])
    missing = [(r, seen.observations[r["id"]].reason) for r in resources if seen.observations[r["id"]].state == MISSING]
    if wrong or missing:
        expected = _some([text for text in (expected, *(f"{where(r)} on this host" for r, _ in missing)) if text])
        actual = _some([reason for _, reason in missing] + [in_words(r, each) for r, found in wrong for each in found])
        return Result(control, "fail", control.severity, expected, actual, evidence)
    still = [seen.observations[r["id"]] for r in resources if seen.observations[r["id"]].state == NOT_RUNNING]
    if still and not unread:  # a part of it holds, and the rest nobody can tell
        return Result(control, "not_applicable", control.severity, expected, cut(still[0].reason), evidence)
    if unread:
        return Result(control, "unknown", control.severity, expected, _some([u.reason for u in unread]), evidence)
    if not looked:
        reasons = [seen.observations[r["id"]].reason for r in resources]
        said = _some(reasons) if reasons else "the policy asks for nothing here"
        return Result(control, "not_applicable", control.severity, expected, said, evidence)
    actual = _some([KINDS[r["kind"]].seen_as(r, seen.observations[r["id"]]) for r in looked])
    return Result(control, "pass", control.severity, expected, actual, evidence)


def _wanted(resource: Resource, alone: bool) -> str:
    said = str(KINDS[resource["kind"]].wanted(resource))
    return said if alone or resource["kind"] != "sysctl" else f"{resource['key']} {said}"


def _some(texts: list[str]) -> str:
    distinct = list(dict.fromkeys(texts))
    more = len(distinct) - MOST_SHOWN
    return "; ".join(map(cut, distinct[:MOST_SHOWN])) + (f"; and {more} more" if more > 0 else "")


def in_words(resource: Resource, difference: Difference) -> str:
    if resource.get("blocked"):
        return difference.blocked
    have = difference.have.splitlines()
    shown = have[0] if len(have) == 1 else f"{len(have)} lines" if have else "absent"
    owed = f", a restart of {difference.restart} is owed" if difference.restart else ""
    if not have:
        shown = f"no {difference.field}" if "\n" in difference.want else shown
    elif "\n" in difference.want or "\n" in difference.have:
        return f"{where(resource)}: {difference.field} differs{owed}"
    return f"{where(resource)}: {difference.field} is {shown}{owed}"
