"""How much memory a controller takes at its peak, seen from outside while it runs."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

PAUSE = 0.1
PAGE = os.sysconf("SC_PAGE_SIZE")


class Peak(NamedTuple):
    """In bytes. `resident` counts a page once for every process that maps it, as `ps` does; `proportional` once."""

    resident: int
    proportional: int
    processes: int


def peak(argv: Sequence[str], env: Mapping[str, str], namespace: str) -> Peak:
    """Of everything that lives in the controller's network namespace while the program runs: its tree, and the ssh
    processes that leave the tree to keep connections open. Hosts have namespaces of their own."""
    world = Path("/run/netns", namespace).stat().st_ino
    best = Peak(0, 0, 0)
    quiet = subprocess.DEVNULL
    with subprocess.Popen(argv, env={**os.environ, **env}, stdin=quiet, stdout=quiet, stderr=quiet) as running:
        while running.poll() is None:
            found = list(_in(world))
            resident, proportional = sum(map(_resident, found)), sum(map(_proportional, found))
            best = Peak(max(best[0], resident), max(best[1], proportional), max(best[2], len(found)))
            time.sleep(PAUSE)
    return best


def _in(world: int) -> Iterator[Path]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if (folder / "ns" / "net").stat().st_ino == world:
                    yield folder
            except OSError:
                continue  # it ended


def _resident(folder: Path) -> int:
    try:
        return int((folder / "statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def _proportional(folder: Path) -> int:
    try:
        lines = (folder / "smaps_rollup").read_text().splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
    except OSError:
        return 0
