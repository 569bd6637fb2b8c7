"""An allowlist of 10 to 100,000 CIDRs: hostguard's, a rule a CIDR, and ufw's."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.figure import Curve, seconds
from tests.bench.namespace import alone
from tests.bench.scale import page
from tests.bench.scale.contenders import CONTENDERS, LIMIT, REPOSITORY, UNPACKED
from tests.bench.scale.plot import Panel, draw

COUNTS = (10, 100, 1_000, 10_000, 100_000)
CHOSEN = os.environ.get("BENCH_CIDRS", "")
PICTURE = REPOSITORY / "docs" / "scale-allowlist.svg"
PAGE = REPOSITORY / "docs" / "figures.md"
LEAST = 2**20
"""Less kernel memory than this can't be told from what the rest of the machine takes meanwhile."""

Cell = Mapping[str, Any]


def measure() -> list[Curve]:
    """In network namespaces (without root, too, but that iptables-nft and ufw then fail at 1,000: a user's socket takes
    no message that long); every fourth network IPv6, the others of thirteen lengths, over up to 1,000
    providers. Load, the median of three into fresh namespaces, each by whole programs: hostguard's reads and compiles
    the policy and makes the host's transaction (sets and rules, not the files of a boot, since no systemd is there);
    a rule a CIDR is one `iptables-restore` a family, of rules that are there, behind one that accepts what is
    established; ufw's is `ufw enable` with its own rules' file, in which the block that it wrote for one CIDR is
    repeated. One more CIDR: hostguard's whole way again, one `iptables -A`, one `ufw allow out`. Kernel memory: what
    SUnreclaim, VmallocUsed and Percpu of /proc/meminfo grow by, so it needs a machine that does nothing else. A
    connection: opened and reset over a veth pair to the last CIDR, medians of 20 rounds of 100, by a namespace without
    any rules in the same rounds. What takes over 60 s is not waited for. BENCH_CIDRS="10 1000" measures these alone,
    and writes neither picture nor page."""
    counts = [int(each) for each in CHOSEN.replace(",", " ").split()] or list(COUNTS)
    found = {int(count): cells for count, cells in
             alone("tests.bench.scale.hosts", *map(str, counts), root=False, aloud=True).items()}  # fmt: skip
    names = ["CIDRs", *(contender.label for contender in CONTENDERS)]
    tables = [
        Curve(title, names, [[f"{count:,}", *(text(cells[each.name]) for each in CONTENDERS)]
                             for count, cells in found.items()])
        for title, text in (
            ("Load", _text("load", seconds)),
            ("One more CIDR", _text("add", seconds)),
            ("Kernel memory", _text("memory", _size)),
        )
    ]  # fmt: skip
    rows = [[f"{count:,}", *(_connection(cells, each.name) for each in CONTENDERS)] for count, cells in found.items()]
    parts = [
        [f"{count:,}", seconds(ours["controller"]), seconds(ours["host"]), _size(ours["sets"])]
        for count, ours in ((count, cells["hostguard"]) for count, cells in found.items())
        if "none" not in ours
    ]
    columns = ["CIDRs", "controller: read and compile", "host: transaction", "sets, as ipset says"]
    tables += [
        Curve("A connection, by one without rules", names, rows),
        Curve("hostguard's load, in parts (its programs' start aside)", columns, parts),
        Curve("On", ["what", "is"], machine()),
    ]
    if not CHOSEN:
        draw(panels(found), PICTURE)
        page.write(PAGE, PICTURE.name, " ".join((measure.__doc__ or "").split()), tables)
    return tables


def _text(key: str, say: Callable[[float], str]) -> Callable[[Cell], str]:
    """The cell's figure in words, or why there is none."""

    def text(cell: Cell) -> str:
        found = cell.get("none") or cell[key]
        return found if isinstance(found, str) else say(found)

    return text


def _size(count: float) -> str:
    return f"{count / 2**20:.3g} MiB" if count >= LEAST else "< 1 MiB"


def ratio(cells: Mapping[str, Cell], name: str) -> float:
    pairs = zip(cells[name]["connect"], cells["bare"]["connect"], strict=True)
    return median(mine / bare for mine, bare in pairs)


def _connection(cells: Mapping[str, Cell], name: str) -> str:
    return cells[name].get("none") or f"{ratio(cells, name):.2f}"


def panels(found: Mapping[int, Mapping[str, Cell]]) -> list[Panel]:
    def lines(key: str, factor: float = 1.0, least: float = 0.0) -> dict[str, dict[int, float]]:
        return {
            each.label: {
                count: cells[each.name][key] * factor
                for count, cells in found.items()
                if isinstance(cells[each.name].get(key), float | int) and cells[each.name][key] >= least
            }
            for each in CONTENDERS
        }

    def over(text: Callable[[Cell], str]) -> dict[str, dict[int, float]]:
        return {
            each.label: {count: LIMIT for count, cells in found.items() if text(cells[each.name]).startswith("over")}
            for each in CONTENDERS
        }

    ratios = {
        each.label: {count: ratio(cells, each.name) for count, cells in found.items() if "none" not in cells[each.name]}
        for each in CONTENDERS
    }
    return [
        Panel("Load", "seconds", lines("load"), over(_text("load", seconds))),
        Panel("One more CIDR", "seconds", lines("add"), over(_text("add", seconds))),
        Panel("Kernel memory (from 1 MiB)", "MiB", lines("memory", 2**-20, LEAST), {}),
        Panel("A connection to the last CIDR", "times one without rules", ratios, {}),
    ]


def machine() -> list[list[str]]:
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    ufw = re.search(r'^version = "(.*)"', (UNPACKED / "usr/sbin/ufw").read_text(encoding="utf-8"), re.MULTILINE)
    return [
        ["machine", f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} CPUs"],
        ["kernel", platform.release()],
        ["Python", platform.python_version()],
        ["iptables, and ufw's", _version("iptables")],
        ["ipset", _version("ipset")],
        ["ufw", ufw[1] if ufw else "?"],
    ]


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    return said.splitlines()[0].strip()
