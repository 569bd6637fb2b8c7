"""Bundle × snapshot → report (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from hostguard.bundle import Compiled
from hostguard.control import Control, JudgingControl, WantingControl
from hostguard.controls import CATALOGUE
from hostguard.host.kinds import KINDS
from hostguard.host.resource import ABSENT, MISSING, NOT_RUNNING, UNREADABLE, VALUE, Difference, Resource
from hostguard.result import Deviation, HostReport, Result
from hostguard.seen import Seen, in_words_of, where
from hostguard.visible import cut

MOST_SHOWN = 3


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
    said = f"the host's answer can't be judged: {in_words_of(error)}"
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
        lacking = [(r, Difference("prerequisite", "missing", "present", reason)) for r, reason in missing]
        deviations = tuple(
            Deviation(r["id"], where(r), *map(cut, each))
            for r, each in [*((r, each) for r, found in wrong for each in found), *lacking]
        )
        return Result(control, "fail", control.severity, expected, actual, evidence, deviations=deviations)
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
    said = KINDS[resource["kind"]].wanted(resource)
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
