"""Does a host stay whole whatever goes wrong? One fault at every single point of every change: `make crash`.

Prints a row a trial as it ends, then a table of what became of the host, and each point that was bad or not reached,
with the command that repeats it. Ends with 1 where there is one.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TypeVar

from tests.crash import ladders
from tests.crash.judge import BAD, Verdict
from tests.crash.scenarios import FAULTS, SCENARIOS
from tests.crash.stage import Stage
from tests.crash.trial import Point, Result, Trial, attempt, each_once, record, sample, trials
from tests.lab.lab import Lab

Each = TypeVar("Each")
UNPROVEN = (*BAD, Verdict.MISSED)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="this one alone; may be repeated")
    parser.add_argument("--fault", action="append", choices=FAULTS, help="this one alone; may be repeated")
    parser.add_argument("--at", type=int, action="append", metavar="K", help="at this point alone; may be repeated")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of all, always the same ones")
    parser.add_argument("--each-once", action="store_true", help="every point, each with one fault, in turn")
    parser.add_argument(
        "--turn",
        type=int,
        default=1,
        metavar="T",
        help="with --each-once: the T-th fault of each point (default: 1, the first)",
    )
    parser.add_argument("--list", action="store_true", help="tell the points, and try none")
    parser.add_argument("--jobs", type=int, default=1, metavar="J", help="so many hosts side by side (default: 1)")
    arguments = parser.parse_args()
    names = arguments.scenario or list(SCENARIOS)
    with Lab() as lab, ladders.names(lab):
        if arguments.list:
            with Stage(lab, "crash") as stage:
                for name in names:
                    tell(name, record(stage, name))
            return 0
        results, whole = run(lab, names, arguments)
    report(results)
    return 1 if not whole or any(result.verdict in UNPROVEN for result in results) else 0


def tell(name: str, points: Sequence[Point]) -> None:
    for at, (what, subject) in enumerate(points, 1):
        print(f"{name} {at}: {what} {subject}", flush=True)


def run(lab: Lab, names: Sequence[str], arguments: argparse.Namespace) -> tuple[list[Result], bool]:
    """What became of each trial, and whether all were tried."""
    faults = arguments.fault or FAULTS
    known: dict[str, list[Point]] = {}
    results: list[Result] = []

    def see(stage: Stage, name: str) -> None:
        known[name] = record(stage, name)

    def suffer(stage: Stage, trial: Trial) -> None:
        results.append(attempt(stage, trial))
        row(len(results), results[-1])

    with ExitStack() as stack:
        stages = [stack.enter_context(Stage(lab, f"crash-{number}")) for number in range(arguments.jobs)]
        side_by_side(stages, deque(names), see)
        wanted = [trial for name in names for trial in trials(name, known[name], faults)]
        if arguments.at:
            wanted = [trial for trial in wanted if trial.at in arguments.at]
        if arguments.each_once:
            wanted = each_once(wanted, arguments.turn)
        if arguments.sample is not None:
            wanted = sample(wanted, arguments.sample)
        print(f"{len(wanted)} trials of {sum(map(len, known.values()))} points", flush=True)
        # Neighbours have the same beginning, so that a host is seldom brought to another level.
        with suppress(KeyboardInterrupt):
            side_by_side(stages, deque(wanted), suffer)
    if len(results) < len(wanted):
        print(f"{len(wanted) - len(results)} trials did not come to an end", flush=True)
    return results, len(results) == len(wanted)


def side_by_side(stages: Sequence[Stage], left: deque[Each], do: Callable[[Stage, Each], None]) -> None:
    """Each host takes the next one until none is left."""

    def work(on: Stage) -> None:
        while True:
            try:
                each = left.popleft()
            except IndexError:  # that was the last one
                return
            do(on, each)

    with ThreadPoolExecutor(len(stages)) as pool:
        try:
            list(pool.map(work, stages))
        except BaseException:
            left.clear()
            raise


def row(number: int, result: Result) -> None:
    trial = result.trial
    why = f" | {result.why}" if result.why else ""
    print(f"{number:5} {result.seconds:5.1f} s  {result.verdict:12} {trial.scenario} {trial.fault} {trial.at}: "
          f"{result.struck[:100]}{why[:400]}", flush=True)  # fmt: skip


def report(results: Sequence[Result]) -> None:
    counts = Counter((each.trial.scenario, each.trial.fault, each.verdict) for each in results)
    shown = [verdict for verdict in Verdict if verdict in BAD or any(each.verdict == verdict for each in results)]
    print(f"\n| scenario | fault | {' | '.join(shown)} |\n|---|---{'|---:' * len(shown)}|")
    for name in SCENARIOS:
        for fault in FAULTS:
            cells = [counts[name, fault, verdict] for verdict in shown]
            if any(cells):
                print(f"| {name} | {fault} | {' | '.join(str(cell or '') for cell in cells)} |")
    totals = [sum(each.verdict == verdict for each in results) for verdict in shown]
    print(f"| all | | {' | '.join(map(str, totals))} |")
    seconds = sum(result.seconds for result in results)
    print(f"\n{len(results)} trials, {seconds / max(1, len(results)):.1f} s each")
    for verdict in UNPROVEN:
        for result in results:
            if result.verdict == verdict:
                print(f"\n{verdict}: {result.struck}\n  {result.why}\n"
                      f"  {result.trial.command()}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
