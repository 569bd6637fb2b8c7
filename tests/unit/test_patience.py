"""Waits: their limit is one of an idle machine, and grows with how slow the machine is found to be."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests import patience
from tests.lab.process import call

FIFTH = 0.2


def test_a_slow_machine_is_waited_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "slowness", lambda: 5.0)
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"not within 0\.2 s of an idle machine: pigs fly"):
        patience.until(lambda: False, "pigs fly", seconds=FIFTH)
    assert time.monotonic() - began > 4 * FIFTH


def test_a_limit_in_whole_seconds_grows_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, limit in ((1.0, "6"), (2.3, "14"), (86.0, "60")):
        monkeypatch.setattr(patience, "slowness", lambda found=found: found)
        assert patience.whole(6) == limit


def test_what_comes_in_time_ends_the_wait() -> None:
    seen = iter((False, False, True))
    patience.until(lambda: next(seen), "the third look")


def test_a_program_that_does_not_end_is_ended_and_named() -> None:
    with pytest.raises(subprocess.TimeoutExpired, match=r"sleep.*0\.2 seconds"):
        call(["sleep", "60"], timeout=FIFTH)
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            patience.ended(sleeper, seconds=FIFTH)
    finally:
        sleeper.kill()
        sleeper.wait()


def test_what_is_said_over_several_looks_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.01)
    echo = "import sys, time; text = sys.stdin.read(); time.sleep(0.1); print(text, end='')"
    text = "0123456789" * 50_000  # more than a pipe holds
    assert call([sys.executable, "-c", echo], input=text).stdout == text
