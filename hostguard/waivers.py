"""Reports × waivers → reports: what may fail until a day is waived, and a waiver that does nothing is told (pure)."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from hostguard.controls import CATALOGUE, hint
from hostguard.policy import Waiver
from hostguard.result import HostReport, Result

SOON = 14
"""Days before its end in which a waiver is warned of."""


class Scope(enum.Enum):
    """How much of what a policy is for an audit looked at."""

    FLEET = enum.auto()
    PART = enum.auto()
    """Some hosts of a fleet: others may need what these do not."""
    ONE = enum.auto()
    """This host alone; a waiver of every host is one of this host, one that names others says nothing here."""


@dataclass(frozen=True)
class Waived:
    """A host's report with its waivers heeded, and as it was without them."""

    report: HostReport
    before: HostReport
    waivers: tuple[Waiver, ...]


def heed(report: HostReport, waivers: Sequence[Waiver], today: datetime.date) -> Waived:
    """A failing control under a waiver in force is waived; under one that expired it fails, and says so.

    What the policy itself weakens stays waived by the policy; a waiver in force gives it a name, a reason and a day.
    """
    results = tuple(_heeded(result, report.host, waivers, today) for result in report.results)
    return Waived(replace(report, results=results), report, tuple(waivers))


def _heeded(result: Result, host: str, waivers: Sequence[Waiver], today: datetime.date) -> Result:
    about = [waiver for waiver in waivers if of_control(waiver, result.control.id) and of_host(waiver, host)]
    if not about or (result.status != "fail" and not result.weakened):
        return result
    last = max(about, key=lambda waiver: waiver.expires)
    if today <= last.expires:
        return replace(result, status="waived", waiver=last)
    if result.weakened:
        return result
    return replace(result, waiver=last, actual=f"{result.actual}; the waiver of {last.by} expired on {last.expires}")


def of_control(waiver: Waiver, control: str) -> bool:
    area, _, name = waiver.control.partition(".")
    return waiver.control == control or (name == "*" and area == control.partition(".")[0])


def of_host(waiver: Waiver, host: str) -> bool:
    return waiver.hosts is None or any(fnmatchcase(host, pattern) for pattern in waiver.hosts)


def cautions(waivers: Iterable[Waiver], today: datetime.date) -> tuple[str, ...]:
    """What deserves a word whatever the hosts are: no such control, and an end that is near or was."""
    return tuple(said for waiver in waivers for said in (*_no_control(waiver), *_ending(waiver, today)))


def warnings(audited: Sequence[Waived], scope: Scope, today: datetime.date) -> tuple[str, ...]:
    """What deserves a word of the waivers of an audit: those that end soon, and those that do nothing.

    Nothing is said of hosts that were not looked at.
    """
    distinct = dict.fromkeys(waiver for host in audited for waiver in host.waivers)
    return tuple(said for waiver in distinct for said in _of_waiver(waiver, audited, scope, today))


def _of_waiver(waiver: Waiver, audited: Sequence[Waived], scope: Scope, today: datetime.date) -> Iterator[str]:
    if unknown := list(_no_control(waiver)):
        yield from unknown
        return
    about = [host.before for host in audited if waiver in host.waivers and of_host(waiver, host.before.host)]
    statuses = {r.status for host in about for r in host.results if of_control(waiver, r.control.id)}
    if statuses & {"fail", "waived"}:  # waived before any waiver was heeded: by the policy itself
        yield from (said for said in _ending(waiver, today) if today <= waiver.expires)
    elif not _whole(waiver, scope, [host.before.host for host in audited]) or "unknown" in statuses:
        return
    elif not about:
        yield f"{_named(waiver)}: no host of this audit is {' or '.join(waiver.hosts or ())}"
    else:
        yield f"{_named(waiver)}: it fails on no host that the waiver is for; take it out of the policy"


def _whole(waiver: Waiver, scope: Scope, looked: Sequence[str]) -> bool:
    """Whether all hosts that a waiver is for were looked at."""
    if waiver.hosts is None:
        return scope is not Scope.PART
    return scope is Scope.FLEET or set(waiver.hosts) <= set(looked)


def _no_control(waiver: Waiver) -> Iterator[str]:
    if not any(of_control(waiver, control.id) for control in CATALOGUE):
        yield f"{_named(waiver)}: there is no such control: {hint(waiver.control)}"


def _ending(waiver: Waiver, today: datetime.date) -> Iterator[str]:
    left = (waiver.expires - today).days
    if left < 0:
        yield f"{_named(waiver)}: it expired on {waiver.expires}"
    elif left <= SOON:
        yield f"{_named(waiver)}: it expires on {waiver.expires}"


def _named(waiver: Waiver) -> str:
    return f"the waiver of {waiver.by} for {waiver.control}"
