"""Callers wait at a port that is too slow to take them: SYN flooding, an accept queue that is full."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said, Unread

LINE = re.compile(r"Possible SYN flooding on port (\S+?)\. ")
SOMAXCONN, NETSTAT = "/proc/sys/net/core/somaxconn", "/proc/net/netstat"
COUNTED = ("ListenOverflows", "ListenDrops", "TCPReqQFullDoCookies", "TCPReqQFullDrop")
KEY = ("kernel", "net.core.somaxconn")


def asks(asked: Asked) -> Mapping[str, Any]:
    return {
        "queues": {"collect": "queues"},
        "log": {"collect": "kernel-log", "seconds": asked.since, "pattern": "Possible SYN flooding on port"},
        "texts": {"collect": "texts", "patterns": [SOMAXCONN, NETSTAT]},
    }


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread | Fact]:
    most = (said["texts"].get(SOMAXCONN) or "0").strip()
    if said["log"] is None:
        yield Unread("this host has no journal of its kernel: floods that are over are not known")
    told: set[int] = set()
    for each in said["queues"]:
        full, flooded = each["waiting"] >= each["backlog"] > 0, each["half_open"] >= each["backlog"] > 0
        if full or flooded:
            told.add(each["port"])
            yield _of_listener(each, most, full=full)
    for line in dict.fromkeys(line for line in said["log"] or () if LINE.search(line)):
        port = int(re.findall(r"\d+$", LINE.findall(line)[0])[0])
        if port not in told:
            told.add(port)
            yield _of_line(line, port, said["queues"], most, asked.since)
    counted = counters(said["texts"].get(NETSTAT) or "")
    if shown := [f"{name} {counted[name]}" for name in COUNTED if counted.get(name)]:
        yield Fact(f"counted since the boot, and no queue is full now: {', '.join(shown)}")


def counters(text: str) -> dict[str, int]:
    """Those of TcpExt: a line of names, and one of numbers below it."""
    names, numbers = ([line.split()[1:] for line in text.splitlines() if line.startswith("TcpExt:")] + [[], []])[:2]
    return {name: int(number) for name, number in zip(names, numbers, strict=False) if number.isdecimal()}


def _of_listener(each: Mapping[str, Any], most: str, *, full: bool) -> Finding:
    who = each["process"] or "a process that is not seen"
    if full:
        seen = f"{each['waiting']} callers wait to be accepted, and its backlog is {each['backlog']}"
        means = (
            "its queue is full: new callers get no answer, try again after 1, 3 and 7 s, and time out; it accepts too "
        )
        means += "slowly, or not at all"
    else:
        seen = f"{each['half_open']} handshakes are half open, and its backlog is {each['backlog']}"
        means = (
            "a flood of SYNs, or callers that vanish: Linux goes on with cookies, which forget options such as window "
        )
        means += "scaling"
    return Finding(
        subject=each["unit"] or who,
        seen=f"port {each['port']}, {who}: {seen}",
        where=f"`ss -ltn sport = {each['port']}`, columns Recv-Q and Send-Q",
        means=means,
        mend=_mend(each["backlog"], most),
        key=KEY,
        concerns=(each["unit"],) if each["unit"] else (),
    )


def _of_line(line: str, port: int, queues: list[Mapping[str, Any]], most: str, since: float) -> Finding:
    owner = next((each for each in queues if each["port"] == port), None)
    who = f"{owner['process']}, backlog {owner['backlog']}" if owner else "nobody listens there any more"
    return Finding(
        subject=(owner and (owner["unit"] or owner["process"])) or f"port {port}",
        seen=f"port {port}: {who}: the kernel said {line!r} within {since:.0f} s",
        where="journalctl -k",
        means="more handshakes were under way than its backlog: a flood, or a service too slow for its callers. It is "
        "said once for each listener, however often it happens",
        mend=_mend(owner["backlog"] if owner else 0, most),
        key=KEY,
        concerns=(owner["unit"],) if owner and owner["unit"] else (),
    )


def _mend(backlog: int, most: str) -> str:
    if str(backlog) == most:
        return f"raise net.core.somaxconn ({most}), which caps it, and restart the service; see why it accepts slowly"
    return (
        f"the service asks for {backlog} itself (its backlog in listen(2); net.core.somaxconn allows {most}): raise it "
        "there; see why it accepts slowly"
    )


RULE = Rule(
    id="accept-queue",
    title="Callers wait at a port that does not take them",
    symptoms=("TCP: request_sock_TCP: Possible SYN flooding on port", "Sending cookies",
              "ListenOverflows"),
    article="Possible SYN flooding on port",
    by_hand="""\
ss -ltn                                                       # Recv-Q waits, Send-Q is the backlog
nstat -az TcpExtListenOverflows TcpExtListenDrops TcpExtTCPReqQFullDoCookies
journalctl -k --grep 'SYN flooding'
sysctl net.core.somaxconn net.ipv4.tcp_max_syn_backlog""",
    means="The article reads this line as a sign of too few local ports. It is about those who come *in*: a listener "
    "has a queue of handshakes and one of connections that wait for accept(), both as long as its backlog. A full one "
    "drops new callers. The backlog is what the program asks for in listen(2), and `net.core.somaxconn` at most.",
    mend="Raise the backlog where it is set: the program's own, or `kernel.net.core.somaxconn` (`capacity` derives "
    "it), and restart. A service that accepts slowly fills any queue: look at its CPU, at its threads, at what it "
    "waits for.",
    looks_at="the queue of every listener against its backlog, and the kernel's log",
    asks=asks,
    judges=judges,
)  # fmt: skip
