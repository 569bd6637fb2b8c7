"""Where the time of the last test run went: `make times`, after `make test`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.schedule import TIMES, Run

CACHE = Path(__file__).parents[1] / ".pytest_cache/v" / TIMES
FEWEST_SECONDS = 10


def table(run: Run) -> str:
    total = sum(seconds for _, seconds in run["groups"].values())
    rows = [(name, tests, seconds) for name, (tests, seconds) in run["groups"].items()]
    short = [row for row in rows if row[2] < FEWEST_SECONDS]
    rows = [row for row in rows if row not in short]
    if short:
        rows.append((f"{len(short)} shorter ones", sum(row[1] for row in short), sum(row[2] for row in short)))
    lines = ["| tests that stay together | tests | seconds | share |", "|---|---:|---:|---:|"]
    lines += [f"| {name} | {tests} | {seconds:.0f} | {seconds / total:.0%} |" for name, tests, seconds in rows]
    cores, share = run["cores"], run["busy"] / run["seconds"] / run["cores"]
    return "\n".join([*lines, "", f"{total:.0f} s of tests in {run['seconds']:.0f} s by {run['workers']} workers; "
                      f"the {cores} cores were busy for {share:.0%} of that."])  # fmt: skip


if __name__ == "__main__":
    sys.exit(print(table(json.loads(CACHE.read_text()))) if CACHE.exists() else "no run is on record here: make test")
