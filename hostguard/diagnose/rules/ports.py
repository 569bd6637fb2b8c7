"""Local ports run out: too many connections to one address, or too many closed ones."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said, Unread

MOST_WAITING = 30_000
"""The article's."""
FULL = 70
"""Percent of the ports to one address and port."""
RANGE, REUSE, STAMPS, RESERVED, SOCKSTAT = (
    "/proc/sys/net/ipv4/ip_local_port_range",
    "/proc/sys/net/ipv4/tcp_tw_reuse",
    "/proc/sys/net/ipv4/tcp_timestamps",
    "/proc/sys/net/ipv4/ip_local_reserved_ports",
    "/proc/net/sockstat",
)
KEY = ("kernel", "net.ipv4.ip_local_port_range")
REUSE_KEY = ("kernel", "net.ipv4.tcp_tw_reuse")
POOL = "keep connections open and reuse them (a pool, HTTP/2): one that is closed by this host holds its port for 60 s"
WAITING = "time-wait"
LOOPBACK_ALONE = "2"
"""Of tcp_tw_reuse, the kernel's own default."""


def asks(_asked: Asked) -> Mapping[str, Any]:
    return {
        "settings": {"collect": "texts", "patterns": [RANGE, REUSE, STAMPS, RESERVED, SOCKSTAT]},
        "connections": {"collect": "connections"},
    }


def judges(_asked: Asked, said: Said) -> Iterator[Finding | Unread | Fact]:
    texts = said["settings"]
    waiting = re.search(r"^TCP: .*\btw (\d+)", texts.get(SOCKSTAT) or "", re.MULTILINE)
    ports = re.fullmatch(r"(\d+)\s+(\d+)\s*", texts.get(RANGE) or "")
    if not waiting or not ports:
        yield Unread(f"{RANGE}, {SOCKSTAT}: expected two ports, and a count of closed connections")
        return
    room = max(1, int(ports[2]) - int(ports[1]) + 1 - _within(texts.get(RESERVED) or "", int(ports[1]), int(ports[2])))
    full = list(_full(texts, said["connections"]["groups"], room))
    yield from full
    count = int(waiting[1])
    if count > MOST_WAITING and not full:
        yield _closed(count, said["connections"]["groups"], texts)
    yield Fact(f"{count} are closed, and there are {room} ports")


def _within(reserved: str, first: int, last: int) -> int:
    spans = [part.partition("-") for part in reserved.strip().split(",") if part]
    return sum(max(0, min(last, int(end or begin)) - max(first, int(begin)) + 1) for begin, _, end in spans)


def _full(texts: Mapping[str, str | None], groups: list[Mapping[str, Any]], room: int) -> Iterator[Finding]:
    by: dict[tuple[str, str, int], list[Mapping[str, Any]]] = {}
    for each in groups:
        by.setdefault((each["from"], each["to"], each["port"]), []).append(each)
    for (source, to, port), members in by.items():
        held = [each for each in members if each["state"] != WAITING or not _used_again(texts, to)]
        used = sum(each["count"] for each in held)
        if used * 100 <= room * FULL:
            continue
        closed = sum(each["count"] for each in members if each["state"] == WAITING)
        largest = max(members, key=lambda each: (bool(each["process"]), each["count"]))
        who = largest["process"] or "no process: all of them are closed"
        end = f"[{to}]:{port}" if ":" in to else f"{to}:{port}"
        reuse = closed * 2 > used
        yield Finding(
            subject=largest["process"] or end,
            seen=f"{used} of {room} ports from {source} to {end} are taken, {closed} of them in TIME_WAIT; {who}",
            where=f"`ss -tan dst {to}`, {RANGE}",
            means='at the last one connect() fails with EADDRNOTAVAIL ("Cannot assign requested address"), for this '
            "destination alone, while the CPUs idle",
            mend=f"{POOL}; {'tcp_tw_reuse = 1, ' if reuse else ''}a wider range, or a second address of the "
            "destination",
            key=REUSE_KEY if reuse else KEY,
        )


def _used_again(texts: Mapping[str, str | None], to: str) -> bool:
    """Whether the kernel takes the port of a closed connection again after a second (ip-sysctl.rst)."""
    reuse = (texts.get(REUSE) or "").strip()
    loopback = to.startswith("127.") or to == "::1"
    stamped = (texts.get(STAMPS) or "").strip() not in ("", "0")
    return stamped and (reuse == "1" or (reuse == LOOPBACK_ALONE and loopback))


def _closed(count: int, groups: list[Mapping[str, Any]], texts: Mapping[str, str | None]) -> Finding:
    to: dict[str, int] = {}
    for each in groups:
        if each["state"] == WAITING:
            end = f"[{each['to']}]:{each['port']}" if ":" in each["to"] else f"{each['to']}:{each['port']}"
            to[end] = to.get(end, 0) + each["count"]
    most = sorted(to, key=lambda end: -to[end])[:3]
    whereto = f", {', '.join(f'{to[end]} to {end}' for end in most)}" if most else ""
    reuse = (texts.get(REUSE) or "").strip() == "1"
    return Finding(
        subject="the host",
        seen=f"{count} connections in TIME_WAIT{whereto}",
        where=f"`tw` in {SOCKSTAT}",
        means="each holds a local port for 60 s: to one destination they run out, connections time out, and the CPUs "
        "idle",
        mend=POOL + ("" if reuse else "; tcp_tw_reuse = 1 takes the ports again after a second"),
        key=KEY if reuse else REUSE_KEY,
    )


RULE = Rule(
    id="ports",
    title="Local ports run out",
    symptoms=(
        "Cannot assign requested address",
        "EADDRNOTAVAIL",
        "[Errno 99]",
        "connections time out, and the CPUs idle",
        "HostguardTimeWait",
    ),
    article="Ephemeral port exhaustion: TIME_WAIT above 30,000",
    by_hand="""\
ss -s
ss -tanH state time-wait | awk '{print $4}' | sort | uniq -c | sort -rn | head    # where to
sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse net.ipv4.tcp_timestamps""",
    means="A connection takes a local port, and the pair of it with the destination's address and port is taken until "
    "60 s after this host has closed it. So the limit counts for each destination: 28,232 connections a minute to one "
    "address with Linux's own range.",
    mend="The mend is to close fewer connections: a pool, keep-alive, HTTP/2. `kernel.net.ipv4.tcp_tw_reuse` and "
    "`kernel.net.ipv4.ip_local_port_range` give room; `capacity` derives both.",
    looks_at=f"ports in use to each address ({FULL} % of the range), and closed connections ({MOST_WAITING})",
    asks=asks,
    judges=judges,
)
