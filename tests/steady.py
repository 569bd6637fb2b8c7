"""Is the suite steady? Run it several times, some of them with every core kept busy by something else: `make steady`.

Prints a row a run, and ends with 1 unless every run has passed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
LOGS = CHECKOUT / ".steady"
SUITE = (sys.executable, "-m", "pytest", "-n", "auto", "--dist", "loadgroup", "--no-loadscope-reorder")
COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)\b")
WORDS = ("passed", "failed", "error", "skipped")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.steady", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="how often (default: 5)")
    parser.add_argument("--loaded", type=int, default=2, help="how many of them beside other work (default: 2)")
    parser.add_argument("rest", nargs="*", metavar="TESTS", help="these tests alone; none: all")
    arguments = parser.parse_args()
    LOGS.mkdir(exist_ok=True)
    print(f"| run | cores kept busy by others | {' | '.join(WORDS)} | kernel panics | minutes |")
    print("|---:|---:" + "|---:" * len(WORDS) + "|---:|---:|", flush=True)
    well = [run(number, number > arguments.runs - arguments.loaded, arguments.rest)
            for number in range(1, arguments.runs + 1)]  # fmt: skip
    return 0 if all(well) else 1


def run(number: int, loaded: bool, tests: list[str]) -> bool:
    cores = len(os.sched_getaffinity(0)) if loaded else 0
    began = time.monotonic()
    log = LOGS / f"{number}.log"
    with busy(cores), log.open("w") as out:
        code = subprocess.run([*SUITE, *tests], cwd=CHECKOUT, stdout=out, stderr=out, check=False).returncode
    text = log.read_text(errors="replace")
    said = text.splitlines()[-1] if text else ""
    counts = {word.removesuffix("s") if word.startswith("error") else word: int(n) for n, word in COUNT.findall(said)}
    row = [number, cores, *(counts.get(word, 0) for word in WORDS), text.count("starting the machine again")]
    print(f"| {' | '.join(map(str, row))} | {(time.monotonic() - began) / 60:.1f} |", flush=True)
    return code == 0


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing else."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for each in started:
            each.kill()
            each.wait()


if __name__ == "__main__":
    sys.exit(main())
