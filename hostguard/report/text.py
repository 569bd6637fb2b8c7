"""What a host or a policy said, as text that no format has to fear."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
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
WRONG: tuple[Shown, ...] = ("fail", "unknown", "known")
"""What does not hold, or could not be seen."""
SEVERITIES = tuple(Severity)
MOST_KEYS = 3
MOST_NAMES = 3
"""So many hosts of a group are named where there is little room."""


@dataclass(frozen=True)
class Alike:
    """Hosts of which the same was seen."""

    result: Result
    hosts: tuple[str, ...]


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


def alike(pairs: Iterable[tuple[str, Result]]) -> list[Alike]:
    """Hosts together where all that was seen of a control is the same."""
    together: dict[tuple[object, ...], list[str]] = {}
    of: dict[tuple[object, ...], Result] = {}
    for host, result in pairs:
        what = (result.control.id, shown(result), *_said(result))
        together.setdefault(what, []).append(host)
        of.setdefault(what, result)
    return [Alike(of[what], tuple(hosts)) for what, hosts in together.items()]


def alike_in_all(hosts: Iterable[HostReport]) -> list[tuple[HostReport, ...]]:
    """Hosts together on which every control came out the same, and of whatever is wrong the same was seen.

    What was seen of all else may differ.
    """
    groups: dict[tuple[object, ...], list[HostReport]] = {}
    for host in hosts:
        what = tuple(
            (result.control.id, shown(result), _said(result) if shown(result) in WRONG else ())
            for result in host.results
        )
        groups.setdefault(what, []).append(host)
    return list(map(tuple, groups.values()))


def _said(result: Result) -> tuple[object, ...]:
    return result.severity, result.expected, result.actual, result.evidence, of_waiver(result), result.drift


def named(hosts: Sequence[str], most: int = MOST_NAMES) -> str:
    """A few of the names, and how many more there are."""
    more = len(hosts) - most
    return ", ".join(hosts) if more <= 0 else f"{', '.join(hosts[:most])} and {more} more"


def _rank(result: Result) -> tuple[int, str]:
    return SEVERITIES.index(result.severity), result.control.id
