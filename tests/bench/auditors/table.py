"""Which broken states of a hardened host each auditor notices."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.bench.auditors.rivals import AUDITORS, QUICK, Findings, short
from tests.bench.figure import Curve, Unmeasured
from tests.breaks import BREAKS, Break
from tests.lab import Host

KNOWN_TO_ALL = Break(
    "run time: SYN cookies off",
    "sysctl -qw net.ipv4.tcp_syncookies=0",
    "sysctl -qw net.ipv4.tcp_syncookies=1",
    "kernel.syncookies",
)
"""That this is bad all four say. One who does not is not heard here, and its column would prove nothing."""
NOTHING = "—"

Noticed = Mapping[str, Findings]
"""By auditor: what it finds that it does not find on the unbroken host."""


def asked(host: Host) -> dict[str, Findings]:
    return {each.name: each.findings(host) for each in AUDITORS}


def notice(host: Host, what: Break, unbroken: Noticed) -> Noticed:
    started = time.monotonic()
    try:
        host.run(what.broken)
        found = asked(host)
    finally:
        host.run(what.mended)
    # What stays would be found again, and counted for the states that follow.
    if left := frozenset[str]().union(*(each.findings(host) for each in QUICK)):
        raise Unmeasured(f"after `{what.name}` was mended, there still fail: {', '.join(sorted(left))}")
    noticed = {name: findings - unbroken[name] for name, findings in found.items()}
    told = ", ".join(name for name, new in noticed.items() if new) or "nobody"
    say(f"{what.name}: {told} ({time.monotonic() - started:.0f} s)")
    return noticed


def on_one_host(host: Host, breaks: Sequence[Break]) -> list[Noticed]:
    unbroken = asked(host)
    if failing := frozenset[str]().union(*(unbroken[each.name] for each in QUICK)):
        raise Unmeasured(f"the unbroken host fails already: {', '.join(sorted(failing))}")
    deaf = [name for name, new in notice(host, KNOWN_TO_ALL, unbroken).items() if not new]
    if deaf:
        raise Unmeasured(f"{', '.join(deaf)}: not heard here, since it says nothing of {KNOWN_TO_ALL.name}")
    found = [notice(host, each, unbroken) for each in breaks]
    after = asked(host)
    if differ := sorted({what for name in after for what in after[name] ^ unbroken[name]}):
        raise Unmeasured(f"a host whose breaks were all mended is not seen as it was before: {', '.join(differ)}")
    return found


def of(hosts: Sequence[Host], breaks: Sequence[Break] = BREAKS) -> list[Curve]:
    """No time is taken here, so several hosts share the work."""
    say(f"{len(breaks)} broken states, {len(hosts)} hosts, some twenty seconds each")
    found: dict[Break, Noticed] = {}
    with ThreadPoolExecutor(len(hosts)) as pool:
        shares = [breaks[at :: len(hosts)] for at in range(len(hosts))]
        for share, noticed in zip(shares, pool.map(on_one_host, hosts, shares), strict=True):
            found.update(zip(share, noticed, strict=True))
    return [by_area(breaks, found), each_one(breaks, found)]


def by_area(breaks: Sequence[Break], found: Mapping[Break, Noticed]) -> Curve:
    areas = list(dict.fromkeys(each.control.partition(".")[0] for each in breaks))
    rows = [_counted(area, [b for b in breaks if b.control.startswith(f"{area}.")], found) for area in areas]
    rows.append(_counted("all", breaks, found))
    names = [each.name for each in AUDITORS]
    return Curve("Broken states that each auditor notices", ("area", "broken states", *names), rows)


def _counted(area: str, breaks: Sequence[Break], found: Mapping[Break, Noticed]) -> tuple[str, ...]:
    counts = (str(sum(bool(found[b][each.name]) for b in breaks)) for each in AUDITORS)
    return (area, str(len(breaks)), *counts)


def each_one(breaks: Sequence[Break], found: Mapping[Break, Noticed]) -> Curve:
    rows = [(b.name, *(_cell(found[b][each.name]) for each in AUDITORS)) for b in breaks]
    return Curve("What each says of them", ("broken state", *(each.name for each in AUDITORS)), rows)


def _cell(new: Findings) -> str:
    return ", ".join(sorted({short(finding) for finding in new})) or NOTHING


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
