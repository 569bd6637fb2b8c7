"""Waits with a limit that grows with the machine: seconds here are those of an idle machine.

A machine that others keep busy is slow, and what is slow is no failure. How slow it is gets measured while a test
waits, by a piece of work whose time on an idle machine is known.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

WORK = "sum(number * number for number in range(200_000))"
IDLE_SECONDS = 0.035
"""What a process that does this takes on an idle machine, from its start to its end: the least of fifty."""
LOOK_SECONDS, MOST = 2, 10


def slowness() -> float:
    """How many times longer the same work takes now; 1.0 on an idle machine, and on a faster one.

    What is short is let through by a busy scheduler, so the last minute's queue for a core counts too.
    """
    began = time.monotonic()
    subprocess.run([sys.executable, "-I", "-S", "-c", WORK], check=True)
    queue = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    return max(1.0, (time.monotonic() - began) / IDLE_SECONDS, queue)


def whole(seconds: float) -> str:
    """So many seconds of an idle machine, in whole ones of this, for a program's option: at most MOST times as many,
    since a pause within one look at the machine's speed says nothing of the next minute."""
    return str(math.ceil(seconds * min(slowness(), MOST)))


class Patience:
    """A limit for one wait. `left()` are the seconds until the machine's speed is looked at anew; 0 when it is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.spent = 0.0  # of an idle machine
        self.looked = time.monotonic()

    def left(self) -> float:
        passed = time.monotonic() - self.looked
        if passed >= min(LOOK_SECONDS, self.seconds - self.spent):
            self.spent += passed / slowness()
            self.looked = time.monotonic()
            passed = 0
        return max(0.0, min(LOOK_SECONDS, self.seconds - self.spent) - passed)


def answer(process: subprocess.Popen[str], *, seconds: float | None = 60) -> tuple[str, str]:
    """What a process says on both streams until its end. Raises subprocess.TimeoutExpired."""
    patience = Patience(seconds) if seconds is not None else None
    while True:
        try:
            return process.communicate(timeout=patience and patience.left())
        except subprocess.TimeoutExpired:
            if patience is None or not patience.left():
                raise subprocess.TimeoutExpired(process.args, seconds or 0) from None


def ended(process: subprocess.Popen[Any], *, seconds: float = 60) -> int:
    """Wait for the end of a process; its exit code. Raises subprocess.TimeoutExpired."""
    patience = Patience(seconds)
    while True:
        try:
            return process.wait(patience.left())
        except subprocess.TimeoutExpired:
            if not patience.left():
                raise


def until(true: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
    """Wait until this is true; what never becomes true fails, in these words."""
    patience = Patience(seconds)
    while not true():
        assert patience.left() > 0, f"not within {seconds:g} s of an idle machine: {what}"
        time.sleep(0.05)
