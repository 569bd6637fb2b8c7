"""What a fault may come in the middle of: each is done to a host that is known, and ends in states that are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tests.crash import ladders
from tests.crash.stage import NO_WINDOW, ROLLBACK, Stage
from tests.lab.any_host import Completed
from tests.lab.process import LabError
from tests.patience import whole

WINDOW, CONFIRM_WINDOW = 3, 10
FAULTS = ("kill", "kill-after", "enospc", "eio", "erofs", "enospc-on", "eio-on", "erofs-on", "power")
"""Once, or (`-on`) from then on, by every process, until somebody makes room."""


@dataclass(frozen=True)
class Scenario:
    """`process` is whose calls are counted: the first word of its command. `base` and `goal` are levels of the ladder:
    so many generations are in force. Where nobody confirms, the host must not stay at the goal."""

    process: str
    base: int
    goal: int
    act: Callable[[Stage], Sequence[Completed]]
    window: int = 0
    stays: bool = True
    ladder: ladders.Ladder = ladders.HOST


def apply(level: int, *window: str) -> Callable[[Stage], Sequence[Completed]]:
    return lambda stage: [stage.hostguard(*stage.apply(level), *window)]


def rollback(*to: str) -> Callable[[Stage], Sequence[Completed]]:
    # Of an option that is there twice the last one counts.
    return lambda stage: [stage.hostguard(*ROLLBACK, *to)]


def confirm(stage: Stage) -> Sequence[Completed]:
    stage.in_the_background(*stage.apply(2), "--confirm-within", whole(CONFIRM_WINDOW) + "s")
    return [stage.hostguard("confirm")]


def boot(stage: Stage) -> Sequence[Completed]:
    """A boot within a window that nobody sees the end of."""
    stage.in_the_background(*stage.apply(2), "--confirm-within", "600s")
    stage.there.lose_power()
    return []


def next_command(stage: Stage) -> Sequence[Completed]:
    """An apply that was killed half way, with nobody to undo it, and another one, which is what is counted."""
    plan = stage.plan("apply", "kill", having="program iptables-restore -w")
    stage.there.write(NO_WATCHER, "#!/bin/sh\nexit 0\n", mode="755")
    stage.hostguard(*stage.apply(2), *NO_WINDOW)
    stage.there.run(["rm", NO_WATCHER])
    if not stage.fired():
        raise LabError("an apply was not killed: does it load its rules by another program now?")
    stage.take_up(plan)
    return [stage.hostguard(*stage.apply(2), *NO_WINDOW)]


NO_WATCHER = "/usr/local/sbin/systemd-run"
"""Found before the real one: it says that all is well, and starts nothing."""
NOT_CONFIRMED = ("--confirm-within", f"{WINDOW}s")
OF_A_HOST: dict[str, Scenario] = {
    "first": Scenario("apply", 0, 1, apply(1, *NO_WINDOW)),
    "first-window": Scenario("apply", 0, 1, apply(1, *NOT_CONFIRMED), WINDOW, stays=False),
    "second": Scenario("apply", 1, 2, apply(2, *NO_WINDOW)),
    "second-window": Scenario("apply", 1, 2, apply(2, *NOT_CONFIRMED), WINDOW, stays=False),
    "confirm": Scenario("confirm", 1, 2, confirm, CONFIRM_WINDOW),
    "expire": Scenario("expire", 1, 2, apply(2, *NOT_CONFIRMED), WINDOW, stays=False),
    "rollback": Scenario("rollback", 2, 1, rollback()),
    "rollback-window": Scenario("rollback", 2, 1, rollback(*NOT_CONFIRMED), WINDOW, stays=False),
    "rollback-to-0": Scenario("rollback", 2, 0, rollback("--to", "0")),
    "boot-rules": Scenario("recover-rules", 1, 2, boot, stays=False),
    "boot": Scenario("recover", 1, 2, boot, stays=False),
    "next": Scenario("apply", 1, 2, next_command),
}
OF_A_GATEWAY = {f"gateway-{name}": replace(each, ladder=ladders.GATEWAY) for name, each in OF_A_HOST.items()}
SCENARIOS = {**OF_A_HOST, **OF_A_GATEWAY}
