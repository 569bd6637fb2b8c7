"""An allowlist of 100,000 CIDRs loaded by hostguard, against `ipset restore` of the same."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hostguard.host.kinds import ipset
from hostguard.host.resource import Observation, Resource
from tests.bench.allowlist import MANY, hosts, mixed, policy, resources
from tests.bench.figure import Figure, in_turn
from tests.bench.namespace import alone

RUNS = 11
Seen = dict[str, Observation]


def measure() -> list[Figure]:
    """By one `ipset restore` of a file with the same `create` and `add` lines, into an empty kernel: what hostguard's
    own module of sets takes to write them there; to write them over sets that are there (one swap); to look, compare,
    write, look again and compare again, as an apply does; and all that together with reading the policy file."""
    return [Figure(**found) for found in alone(__spec__.name)]


def timed(step: Callable[[], object]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def empty() -> None:
    subprocess.run(["ipset", "destroy"], check=True)


def checked(wanted: list[Resource]) -> None:
    """Look, compare, write, look again, compare again: what apply does around a set."""
    seen = ipset.read(wanted)
    differing = [r for r in wanted if ipset.differ(r, seen[r["id"]])]
    ipset.write(differing, seen)
    seen = ipset.read(wanted)
    if any(ipset.differ(r, seen[r["id"]]) for r in wanted):
        raise SystemExit("what was loaded is not what was wanted")


def compare(name: str, cidrs: list[str], folder: Path) -> list[dict[str, Any]]:
    loaded = policy(cidrs, folder)
    wanted = [r for r in resources(loaded) if r["kind"] == "ipset"]
    file = folder / "sets"
    file.write_text(ipset.script(wanted), encoding="ascii")
    empty()
    nothing: Seen = ipset.read(wanted)

    def plain() -> float:
        empty()
        with file.open(encoding="ascii") as text:
            return timed(lambda: subprocess.run(["ipset", "restore"], stdin=text, check=True))

    def fresh() -> float:
        empty()
        return timed(lambda: ipset.write(wanted, nothing))

    def over() -> float:
        empty()
        checked(wanted)
        seen = ipset.read(wanted)
        return timed(lambda: ipset.write(wanted, seen))

    def looked() -> float:
        empty()
        return timed(lambda: checked(wanted))

    def whole() -> float:
        empty()
        return timed(lambda: checked([r for r in resources(policy(cidrs, folder)) if r["kind"] == "ipset"]))

    base, *found = in_turn(RUNS, plain, fresh, over, looked, whole)
    base_is = f"ipset restore of the same ({sum(len(r['entries']) for r in wanted):,} entries)"
    rows = (
        (name, "written", "≤ 2"),
        (f"{name}, over", "written over sets that are there", ""),
        (f"{name}, checked", "read, written, read again and compared", ""),
        (f"{name}, whole", "policy file read, then the same", ""),
    )
    return [
        {"name": row, "ours_is": ours_is, "base_is": base_is, "ours": ours, "base": base, "target": target}
        for (row, ours_is, target), ours in zip(rows, found, strict=True)
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        rows = compare("load", hosts(MANY), Path(folder)) + compare("load, mixed", mixed(MANY), Path(folder))[:1]
    json.dump(rows, sys.stdout)


if __name__ == "__main__":
    main()
