"""`hostguard --help` against what no program of its kind can do without: importing typer."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench.figure import Figure, Unmeasured
from tests.bench.stopwatch import compare

RUNS = 41


def measure() -> list[Figure]:
    """One start of the installed command, by one start of the same interpreter that imports typer and ends."""
    # Not resolved: a virtual environment's python is a link, and the command stands beside the link.
    command = Path(sys.executable).with_name("hostguard")
    if not command.exists():
        raise Unmeasured(f"{command} is not there: install the project into this environment (pip install -e .)")
    ours, base = compare([([str(command), "--help"], "")], [([sys.executable, "-c", "import typer"], "")], RUNS, {})
    return [Figure("help", "hostguard --help", "python -c 'import typer'", ours, base, "≤ 1.3")]
