"""One fault at one point of a scenario, and what became of the host."""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tests.crash import injector
from tests.crash.judge import (
    BAD,
    CUT_SHORT,
    Dump,
    Seen,
    Verdict,
    boots_open,
    liken,
    opened,
    out_of_date,
    untrue,
    without_traces,
)
from tests.crash.scenarios import FAULTS, SCENARIOS, Scenario
from tests.crash.stage import NO_WINDOW, ROOM_SECONDS, Stage, within
from tests.lab.any_host import Completed
from tests.lab.process import LabError

Point = tuple[str, str]


@dataclass(frozen=True)
class Trial:
    """`at`: the number of its point, and `point` what was seen there; or `having`: the first that has this text."""

    scenario: str
    fault: str
    at: int = 0
    having: str = ""
    point: str = ""

    def __str__(self) -> str:
        return f"{self.scenario} {self.fault} {self.at or self.having}"

    def command(self) -> str:
        return f"python -m tests.crash --scenario {self.scenario} --fault {self.fault} --at {self.at}"


@dataclass(frozen=True)
class Result:
    trial: Trial
    verdict: Verdict
    why: str
    struck: str
    seconds: float


def record(stage: Stage, name: str) -> list[Point]:
    """Every point of a scenario, in order, seen while nothing goes wrong."""
    scenario = SCENARIOS[name]
    stage.be_at(scenario.ladder, scenario.base)
    stage.plan(scenario.process, "", record=True)
    said = scenario.act(stage)
    stage.settle(scenario.window)
    stage.mend()
    points = stage.points()
    end = scenario.goal if scenario.stays else scenario.base
    seen = stage.look()
    like = liken(seen, stage.known, scenario.base, {scenario.base, scenario.goal})
    if (like.level, like.traces) != (end, []) or not points:
        raise LabError(f"{name}, with no fault, ends at {like}: {[done.stderr for done in said]}")
    put_back(stage, scenario, seen.dump)
    return points


def trials(name: str, points: Sequence[Point], faults: Sequence[str] = FAULTS) -> list[Trial]:
    return [
        Trial(name, fault, at, point=" ".join(point))
        for fault in faults
        for at, point in enumerate(points, 1)
        if injector.fits(fault, *point)
    ]


def attempt(stage: Stage, trial: Trial) -> Result:
    began = time.monotonic()
    try:
        verdict, why, struck = _attempted(stage, trial)
    except (LabError, subprocess.TimeoutExpired) as error:  # it does not boot, or does not answer
        stage.leave()
        verdict, why, struck = Verdict.STUCK, str(error), ""
    return Result(trial, verdict, why, struck, time.monotonic() - began)


def _attempted(stage: Stage, trial: Trial) -> tuple[Verdict, str, str]:
    scenario = SCENARIOS[trial.scenario]
    stage.be_at(scenario.ladder, scenario.base)
    stage.plan(scenario.process, trial.fault, at=trial.at, having=trial.having, room=ROOM_SECONDS)
    said = _suffer(stage, scenario, trial.fault)
    struck = stage.fired()
    stage.mend()
    verdict, why, seen = _judged(stage, scenario, said)
    if verdict == Verdict.STUCK:  # whoever is at work would meet the next trial
        stage.leave()
        return verdict, why, struck
    if verdict not in BAD and (not struck or (trial.point and struck != trial.point)):
        verdict, why = Verdict.MISSED, f"and not {trial.point}"
    if not put_back(stage, scenario, seen.dump) and verdict not in BAD:
        only_traces = not without_traces(stage.unlike)
        verdict = Verdict.TRACES if only_traces else Verdict.OPEN
        why = "a rollback afterwards does not bring back what was there: " + "; ".join(stage.unlike[:4])
    return verdict, why, struck


def _suffer(stage: Stage, scenario: Scenario, fault: str) -> Sequence[Completed]:
    said: Sequence[Completed] = []
    try:
        said = scenario.act(stage)
    except LabError:
        if fault != "power":  # which takes whoever waits in the host, too
            raise
    if fault.endswith("-on"):
        within(ROOM_SECONDS, lambda: not stage.is_at_work())
        stage.mend()
    if fault == "power":
        within(scenario.window + 5, lambda: bool(stage.fired()) or not stage.is_at_work())
        if stage.fired():
            stage.there.lose_power()
    return said


def _judged(stage: Stage, scenario: Scenario, said: Sequence[Completed]) -> tuple[Verdict, str, Seen]:
    """The verdict, why it is so, and how the host was seen last."""
    levels = {scenario.base, scenario.goal}
    settled = stage.settle(scenario.window)
    seen = stage.look()
    like = liken(seen, stage.known, scenario.base, levels)
    if not settled:
        return Verdict.STUCK, f"still at work after its window: {', '.join(like.traces[:3])}", seen
    booted = boots_open(seen)
    if booted:
        stage.there.reboot()
        seen = stage.look()
        like = liken(seen, stage.known, scenario.base, levels)
    if why := opened(seen, tuple(stage.policies.values())):
        return Verdict.OPEN, ("after a boot: " if booted else "") + why, seen
    if like.level == scenario.goal and not scenario.stays and not like.traces:
        return Verdict.OPEN, "kept, and nobody has confirmed it", seen
    wrong = untrue(said, like, scenario.base, scenario.goal)
    if like.level is not None and not like.traces:
        wrong = wrong or out_of_date(seen, like.level, stage.policies)
        as_it_is = Verdict.OLD if like.level == scenario.base else Verdict.NEW
        return (Verdict.WORDS if wrong else as_it_is), wrong, seen
    # The command that comes next, whatever it is for: after it the host is whole, and what was cut short was said.
    left = "; ".join((like.unlike + like.traces)[:4])
    wanted = max(levels)
    done = stage.hostguard(*stage.apply(wanted), *NO_WINDOW)
    after = stage.look()
    healed = liken(after, stage.known, -1, {wanted})  # it has written everything anew
    if healed.level is None or done.returncode:
        kind = Verdict.STUCK if "waits to be confirmed" in done.stderr else Verdict.HALF
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
        return kind, f"{left}; the next command: {lines[-1]}; then {'; '.join(healed.unlike[:3])}", after
    if wrong:
        return Verdict.WORDS, wrong, after
    if healed.traces:
        return Verdict.TRACES, "; ".join(healed.traces[:4]), after
    if like.level is None and not CUT_SHORT.search(seen.history.stdout + done.stdout + done.stderr):
        return Verdict.WORDS, f"healed by the next command, which says nothing of it: {left}", after
    return Verdict.NEXT, left, after


def put_back(stage: Stage, scenario: Scenario, dump: Dump) -> bool:
    """As before the trial; tell whether a rollback could do that. Where it can't, the next trial has a new host."""
    lowest = min(scenario.base, scenario.goal)
    if stage.is_at(scenario.base, dump) or stage.is_at(lowest, dump) or stage.go_back(lowest):
        return True
    unlike = stage.unlike
    if not lowest or not stage.go_back(0):
        stage.leave()
    stage.unlike = unlike
    return False


def each_once(every: Sequence[Trial], turn: int = 1) -> list[Trial]:
    """One trial for each point, in order. The fault that a scenario has had least often comes next.

    Of a later turn: what the turns before have left. A point that has had all its faults has none.
    """
    fitting: dict[tuple[str, int], list[Trial]] = {}
    for trial in every:
        fitting.setdefault((trial.scenario, trial.at), []).append(trial)
    in_order = [
        fitting[point] for point in sorted(fitting, key=lambda point: (list(SCENARIOS).index(point[0]), point[1]))
    ]
    had: Counter[tuple[str, str]] = Counter()
    chosen: list[Trial] = []
    for _ in range(turn):
        chosen = []
        for left in filter(None, in_order):
            trial = min(left, key=lambda each: (had[each.scenario, each.fault], FAULTS.index(each.fault)))
            left.remove(trial)
            had[trial.scenario, trial.fault] += 1
            chosen.append(trial)
    return chosen


def sample(every: Sequence[Trial], size: int) -> list[Trial]:
    """So many, always the same ones, in their order; the first few are of every scenario and of every fault."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, trial in enumerate(every):
        groups.setdefault((trial.scenario, trial.fault), []).append(number)
    for group in groups.values():
        random.Random(0).shuffle(group)
    turns = [(name, FAULTS[(row + shift) % len(FAULTS)])
             for shift in range(len(FAULTS)) for row, name in enumerate(SCENARIOS)]  # fmt: skip
    chosen: list[int] = []
    while len(chosen) < min(size, len(every)):
        chosen += [groups[turn].pop() for turn in turns if groups.get(turn)]
    return [every[number] for number in sorted(chosen[:size])]
