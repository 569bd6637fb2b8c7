"""What a connection takes of the gateway's memory: one that is idle, and one that has sent a request to a provider."""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from tests.bench.figure import Curve, Unmeasured
from tests.bench.gateway.programs import demand
from tests.bench.gateway.stage import PORT, PROXIES, SLOW, Overlay, Stage, answers, provider, stage
from tests.bench.namespace import alone

COUNT = int(os.environ.get("BENCH_CONNECTIONS", "2000"))
ROUNDS = 3
MOST = 64
"""KiB that a connection may take: the article's."""
PAGE = os.sysconf("SC_PAGE_SIZE")
# All requests are open at once for as long as the provider takes, and 2,000 handshakes take a while on few cores.
PATIENT: Overlay = {
    "gateway": {"providers": {"payments": {"timeouts": {"connect": "20s", "try": "60s", "total": "120s"}}}}
}


def measure() -> list[Curve]:
    """In a network namespace: VmRSS of a proxy's processes with many connections of applications, less that without
    any, by their number; three times each, every time with processes that have just started and have answered a
    request. Idle: connected, and nothing sent. Used: each has sent a GET of 1 KiB and read its answer, all of them at
    the same time, so that the proxy has as many TLS connections to the provider as it has from applications, and keeps
    them: a pair of two is counted as one. What the kernel takes for sockets is not in it. nginx and HAProxy keep less
    of an answer than the gateway, which holds it until it is whole. Wanted of the gateway is at most 64 KiB."""
    demand()
    columns = ["", *(f"{name}: {what}" for name in PROXIES for what in ("KiB a connection", "TLS connections"))]
    told = alone(__spec__.name, leaves=True, aloud=True)
    rows = []
    for use in ("idle", "used"):
        cells = [use]
        for name in PROXIES:
            taken, upstream = zip(*told[name][use], strict=True)
            missed = ", missed" if name == "the gateway" and median(taken) > MOST else ""
            cells += [f"{median(taken):.1f} ({min(taken):.1f} – {max(taken):.1f}){missed}", f"{median(upstream):,.0f}"]
        rows.append(cells)
    return [Curve(f"Memory of {COUNT:,} connections", columns, rows)]


def connect(url: str, count: int) -> list[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    return [socket.create_connection((host, int(port)), timeout=120) for _ in range(count)]


def use(wires: Sequence[socket.socket]) -> None:
    """A request on each, all of them at the same time, each answered."""
    for wire in wires:
        wire.sendall(f"GET {SLOW} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for wire in wires:
        said = b""
        while not said.endswith(b'"}'):
            if not (part := wire.recv(1 << 16)):
                raise Unmeasured(f"a connection was closed after {said[:60]!r}")
            said += part
        if not said.startswith(b"HTTP/1.1 200"):
            raise Unmeasured(f"a request was answered with {said[:60]!r}")


def resident(pid: int) -> int:
    """In bytes, of a process and its children."""
    return sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) * PAGE for each in family(pid))


def family(pid: int) -> Iterator[int]:
    yield pid
    for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from family(int(each))


def to_provider() -> int:
    """Established connections to its port."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(words[2].endswith(f":{PORT:04X}") and words[3] == "01" for words in lines)


def taken(at: Stage, name: str, used: bool) -> tuple[float, int]:
    """KiB a connection, and connections to the provider."""
    start, url = PROXIES[name]
    with start(at, PATIENT) as pid, ExitStack() as open_:
        answers(url)
        before, there = resident(pid), to_provider()
        wires = [open_.enter_context(wire) for wire in connect(url, COUNT)]
        if used:
            use(wires)
        else:
            answers(url)  # behind all of them: they have been accepted
        return (resident(pid) - before) / 1024 / COUNT, to_provider() - there


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    found: dict[str, dict[str, list[tuple[float, int]]]] = {name: {"idle": [], "used": []} for name in PROXIES}
    with stage() as at, provider(at):
        for number in range(ROUNDS):
            print(f"bench: round {number + 1} of {ROUNDS}", file=sys.stderr, flush=True)
            for name, of in found.items():
                for use_ in ("idle", "used"):
                    of[use_].append(taken(at, name, use_ == "used"))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
