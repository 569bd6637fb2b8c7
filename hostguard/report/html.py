"""The audit as one page that needs nothing from elsewhere: the verdict, what is wrong and how to mend it, each host."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hostguard.control import ARTICLE_TITLE, Control
from hostguard.report import page
from hostguard.report.text import (
    FIRST,
    WORST,
    WRONG,
    Alike,
    Shown,
    alike,
    alike_in_all,
    by_the_policy,
    failures,
    named,
    of_change,
    of_waiver,
    shown,
    silent,
    worst_first,
)
from hostguard.result import HostReport, Report, Result
from hostguard.status import Severity

WORD: dict[Shown, tuple[str, str]] = {
    "fail": ("✕", "fail"),
    "known": ("✕", "known"),
    "unknown": ("?", "unknown"),
    "waived": ("◷", "waived"),
    "pass": ("✓", "pass"),
    "not_applicable": ("–", "not applicable"),
}
MOST_OPEN = 4
"""So many findings stand open at first; of more, all are folded."""


@dataclass(frozen=True)
class Finding:
    """A control that fails or is unknown somewhere."""

    control: Control
    severity: Severity
    hosts: Mapping[Shown, int]
    seen: tuple[Alike, ...]


@dataclass(frozen=True)
class Group:
    """Hosts that are alike, or one that is like none: the counts are of each of them. In an area's `areas` a control
    stands once for each thing that was seen of it."""

    hosts: tuple[str, ...]
    number: int
    worst: Shown
    count: Mapping[Shown, int]
    by_area: Mapping[str, Mapping[Shown, int]]
    areas: tuple[tuple[str, tuple[Alike, ...]], ...]


def render(report: Report, *, colour: bool, width: int) -> str:  # noqa: ARG001 - the signature of every format
    groups = [_group(number, each) for number, each in enumerate(alike_in_all(report.hosts), 1)]
    unwell = [each for each in groups if each.worst in WRONG]
    well = [each for each in groups if each.worst not in WRONG]
    unwell.sort(key=lambda each: (WORST.index(each.worst), -each.count[each.worst], -len(each.hosts)))
    found = findings(report)
    unseen: dict[str, list[str]] = {}
    for host in report.hosts:
        if reason := silent(host):
            unseen.setdefault(reason, []).append(host.host)
    return page.render(
        "audit",
        WORD=WORD,
        FIRST=FIRST,
        WORST=WORST,
        WRONG=WRONG,
        of_waiver=of_waiver,
        of_change=of_change,
        named=named,
        shown=shown,
        worst=worst,
        report=report,
        count=report.count(),
        segments=page.segments(report.count(), FIRST),
        findings=found,
        failing=sum("fail" in finding.hosts or "known" in finding.hosts for finding in found),
        new=sum("fail" in finding.hosts for finding in found),
        failures=failures(report, report.compared),
        by_policy=by_the_policy(report.hosts),
        article=ARTICLE_TITLE,
        silent=unseen,
        opened=len(found) <= MOST_OPEN,
        waivers=alike(worst_first(report.hosts, "waived")),
        areas=list(dict.fromkeys(result.control.area for host in report.hosts for result in host.results)),
        unwell=unwell,
        unwell_hosts=sum(len(each.hosts) for each in unwell),
        well=well,
    )


def worst(found: Iterable[Shown]) -> Shown:
    return min(found, key=WORST.index, default="not_applicable")


def findings(report: Report) -> list[Finding]:
    """What is wrong, by control: by what decides most, then by severity and by how many hosts it concerns.

    Without the hosts of which nothing was seen: each would be in every finding.
    """
    by_control: dict[str, list[tuple[str, Result]]] = {}
    for host, result in worst_first((host for host in report.hosts if not silent(host)), "fail", "unknown"):
        by_control.setdefault(result.control.id, []).append((host, result))
    made = [
        Finding(
            pairs[0][1].control,
            min((result.severity for _, result in pairs), key=list(Severity).index),
            Counter(shown(result) for _, result in pairs),
            tuple(alike(pairs)),
        )
        for pairs in by_control.values()
    ]
    return sorted(
        made, key=lambda f: (WORST.index(worst(f.hosts)), list(Severity).index(f.severity), -sum(f.hosts.values()))
    )


def _group(number: int, hosts: Sequence[HostReport]) -> Group:
    first, areas = hosts[0], dict[str, list[tuple[str, Result]]]()
    for results in zip(*(host.results for host in hosts), strict=True):
        of_area = areas.setdefault(results[0].control.area, [])
        of_area += [(host.host, result) for host, result in zip(hosts, results, strict=True)]
    ordered = tuple(
        (area, tuple(sorted(alike(pairs), key=lambda each: WORST.index(shown(each.result)))))
        for area, pairs in areas.items()
    )
    count = Counter(map(shown, first.results))
    by_area = {area: Counter(shown(r) for r in first.results if r.control.area == area) for area in areas}
    return Group(tuple(host.host for host in hosts), number, worst(count), count, by_area, ordered)
