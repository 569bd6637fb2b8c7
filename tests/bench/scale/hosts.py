"""`python -m tests.bench.scale.hosts N...`, alone in a network and a mount namespace: all that is measured, as JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from hostguard.rehearse.namespaces import CLONE_NEWNS, unshare
from tests.bench.allowlist import both
from tests.bench.connections import STRANGER, Client, reaches, serve
from tests.bench.figure import Unmeasured, in_turn
from tests.bench.scale.contenders import CONTENDERS, LIMIT, Contender, Hostguard, NotHad, said_by_ours

LOADS = 3
ROUNDS, CONNECTIONS = 20, 100
ONE_MORE = "198.51.100.0/26"
# What the kernel takes for itself and can't give back: objects, large areas, and what it keeps for every CPU.
KERNEL = ("SUnreclaim", "VmallocUsed", "Percpu")
STEADY, WITHIN, PATIENCE = 3, 128 * 1024, 5.0


def kernel_memory() -> int:
    found = dict(re.findall(r"^(\w+): +(\d+) kB$", Path("/proc/meminfo").read_text(encoding="ascii"), re.MULTILINE))
    return sum(1024 * int(found[name]) for name in KERNEL)


def settled_memory() -> int:
    """Once what others gave back before has gone: the kernel does that in its own time."""
    until, last, same = time.monotonic() + PATIENCE, kernel_memory(), 0
    while same < STEADY and time.monotonic() < until:
        time.sleep(0.05)
        now = kernel_memory()
        same = same + 1 if abs(now - last) <= WITHIN else 0
        last = now
    return last


def load(contender: Contender | None, cidrs: list[str], folder: Path) -> dict[str, Any]:
    """In a host of its own: bring the allowlist into force, and see that it is."""
    unshare(CLONE_NEWNS)
    # What is kept, and the lock of iptables, are this host's own.
    for place in ("/run", "/var/lib"):
        subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    before = settled_memory()
    if contender is None:
        return {"memory": settled_memory() - before}
    folder.mkdir(exist_ok=True)
    step = contender.load(cidrs, folder)
    before = settled_memory()
    try:
        taken, said = step.take(LIMIT)
    except NotHad as why:
        return {"none": str(why)}
    found: dict[str, Any] = {"load": taken, "memory": settled_memory() - before}
    if reaches(STRANGER):
        sys.exit(f"under {contender.name} a host reaches an address that is not in its allowlist")
    if isinstance(contender, Hostguard):
        found.update(said_by_ours(said))
        found["sets"] = sum(map(int, re.findall(r"^Size in memory: (\d+)", _listed(), re.MULTILINE)))
    return found


def _listed() -> str:
    return subprocess.run(["ipset", "list", "-terse"], check=True, capture_output=True, text=True).stdout


def add(contender: Contender, cidrs: list[str], folder: Path) -> float | str:
    """The seconds, or why there are none."""
    step = contender.add(cidrs, ONE_MORE, folder)
    try:
        return step.take(LIMIT)[0]
    except NotHad as why:
        return str(why)


def measure(count: int, folder: Path, new: Callable[[Callable[[], Any]], Client]) -> dict[str, Any]:
    """All contenders with so many networks: loaded in turn, each time in a fresh host, of which the last connect."""
    cidrs = both(count)
    told: dict[str, list[dict[str, Any]]] = {contender.name: [] for contender in CONTENDERS}
    hosts: dict[str, Client] = {}
    for _ in range(LOADS):
        for contender in CONTENDERS:
            if any("none" in each for each in told[contender.name]):
                continue
            if contender.name in hosts:
                hosts.pop(contender.name).end()
            print(f"bench: {count:,} CIDRs, {contender.label}", file=sys.stderr, flush=True)
            host = new(partial(load, contender, cidrs, folder / f"{contender.name}-{count}"))
            told[contender.name].append(host.told)
            hosts[contender.name] = host
    bare = new(partial(load, None, [], folder))
    able = {name: host for name, host in hosts.items() if "none" not in host.told}
    times = in_turn(ROUNDS, *(partial(host.connect, CONNECTIONS) for host in (bare, *able.values())))
    found: dict[str, Any] = {"bare": {"connect": times[0], "memory": bare.told["memory"]}}
    for contender in CONTENDERS:
        name = contender.name
        if name not in able:
            found[name] = hosts[name].told
            continue
        found[name] = {key: median(each[key] for each in told[name]) for key in told[name][0]}
        found[name]["connect"] = times[1 + list(able).index(name)]
        found[name]["add"] = able[name].do(partial(add, contender, cidrs, folder / f"{name}-{count}"))
    for host in (bare, *hosts.values()):
        host.end()
    return found


def main(counts: list[int]) -> None:
    made = 0

    def new(prepare: Callable[[], Any]) -> Client:
        nonlocal made
        made += 1
        return Client(made, prepare)

    serve()
    try:
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
            print(json.dumps({count: measure(count, Path(folder), new) for count in counts}))
    except Unmeasured as why:
        sys.exit(str(why))


if __name__ == "__main__":
    main([int(each) for each in sys.argv[1:]])
