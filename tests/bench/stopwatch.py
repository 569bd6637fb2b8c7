"""Times two lists of programs in turn: here, or in a lab host, where it reads what to time from stdin.

In the host itself, so that the cost of getting into it (`podman exec`) is in neither.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.figure import Unmeasured, in_turn

Step = Sequence[Any]
"""A program with its arguments, what it reads, and, where it is known to end otherwise than well, its exit code."""


def lap(steps: Sequence[Step], env: Mapping[str, str], well: Sequence[int] = (0,)) -> float:
    """How long the programs take, one after another. `well`: the exit codes that mean that they did their work."""
    environment = {**os.environ, **env}
    start = time.perf_counter()
    for argv, text, *known in steps:
        done = subprocess.run(
            argv, input=text, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
        if done.returncode not in (known or well):
            raise Unmeasured(f"`{' '.join(argv)[:80]}` ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return time.perf_counter() - start


def compare(
    ours: Sequence[Step], base: Sequence[Step], runs: int, env: Mapping[str, str], well: Sequence[int] = (0,)
) -> tuple[list[float], list[float]]:
    """`well` is of ours alone: an import that fails must not pass for a fast one."""
    mine, theirs = in_turn(runs, lambda: lap(ours, env, well), lambda: lap(base, env))
    return mine, theirs


if __name__ == "__main__":
    try:
        json.dump(compare(**json.load(sys.stdin)), sys.stdout)
    except Unmeasured as why:
        sys.exit(str(why))
