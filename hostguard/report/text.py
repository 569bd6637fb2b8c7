"""What a host or a policy said, as text that no format has to fear."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Literal

from hostguard.control import Weakening
from hostguard.result import Change, Deviation, HostReport, Report, Result
from hostguard.status import Severity, Status
from hostguard.visible import visible

FIRST: tuple[Status, ...] = ("fail", "unknown", "waived", "pass", "not_applicable")
"""What a reader must know, first."""
Shown = Status | Literal["known"]
WORST: tuple[Shown, ...] = ("fail", "unknown", "known", "waived", "pass", "not_applicable")
"""The same, where what failed in the baseline already has a word of its own: it decides nothing."""
SEVERITIES = tuple(Severity)
MOST_KEYS = 3


def printable(report: Report) -> Report:
    """The same report, of text that prints. Names stay on one line; what a host said keeps its lines."""
    return replace(
        report,
        policy_path=visible(report.policy_path),
        folder=visible(report.folder),
        warnings=tuple(visible(warning, "\n\t") for warning in report.warnings),
        hosts=tuple(HostReport(visible(host.host), tuple(map(_printable, host.results))) for host in report.hosts),
    )


def _printable(result: Result) -> Result:
    waiver = result.waiver
    return replace(
        result,
        expected=visible(result.expected, "\n\t"),
        actual=visible(result.actual, "\n\t"),
        evidence=visible(result.evidence, "\n\t"),
        waiver=waiver
        and waiver.model_copy(update={"reason": visible(waiver.reason, "\n\t"), "by": visible(waiver.by)}),
        weakened=tuple(
            replace(each, key=tuple(map(visible, each.key)), found=visible(each.found), means=visible(each.means))
            for each in result.weakened
        ),
        deviations=tuple(
            Deviation(*(visible(getattr(each, name.name), "\n\t") for name in fields(Deviation)))
            for each in result.deviations
        ),
        drift=tuple(Change(visible(each.what), visible(each.since), visible(each.by)) for each in result.drift),
    )


def shown(result: Result) -> Shown:
    return "known" if result.known else result.status


def failures(of: Report | HostReport, compared: bool) -> str:
    """How many fail; where there was a baseline, how many of them did not in it."""
    count = of.count()["fail"]
    return f"{count} fail" + (f", {count - of.known()} of them new" if compared and count else "")


def of_change(change: Change) -> str:
    return f"{change.what} · since: {change.since or 'not known'} · by: {change.by}"


def of_waiver(result: Result) -> str:
    """What is to be said of a result's waiver; nothing where it has none."""
    said = []
    if result.waiver:
        held = "waived until" if result.status == "waived" else "the waiver ended on"
        said.append(f"{held} {result.waiver.expires} by {result.waiver.by}: {result.waiver.reason}")
    if result.weakened:
        said.append("waived by the policy itself: " + "; ".join(map(_of_weakening, result.weakened)))
    return "; ".join(said)


def _of_weakening(weakening: Weakening) -> str:
    line = f" (line {weakening.line})" if weakening.line else ""
    return f"{weakening}{line}, {weakening.means}"


def by_the_policy(hosts: Iterable[HostReport]) -> str:
    """How many results the policy itself keeps from passing, and with which keys; nothing where it keeps none."""
    results = [result for host in hosts for result in host.results if result.weakened]
    keys = list(dict.fromkeys(str(each) for result in results for each in result.weakened))
    more = f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
    return f"{len(results)} waived by the policy itself ({', '.join(keys[:MOST_KEYS])}{more})" if results else ""


def silent(host: HostReport) -> str:
    """Why nothing at all could be seen of a host; nothing where something was."""
    said = {(result.status, result.actual) for result in host.results if result.status != "not_applicable"}
    return said.pop()[1] if len(said) == 1 and next(iter(said))[0] == "unknown" else ""


def worst_first(hosts: Iterable[HostReport], *statuses: Status) -> list[tuple[str, Result]]:
    """The results of these statuses, each with its host: by what decides most, severity and control."""
    found = [(host.host, result) for host in hosts for result in host.results if result.status in statuses]
    return sorted(found, key=lambda pair: (WORST.index(shown(pair[1])), *_rank(pair[1])))


def _rank(result: Result) -> tuple[int, str]:
    return SEVERITIES.index(result.severity), result.control.id
