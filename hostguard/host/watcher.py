"""The host's own watch over a confirm window: a process that outlives the apply, and the next boot."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, Callable, Dict

from . import lock, store, way_back, window
from .program import run

GRACE = 60.0
"""Seconds that an apply has to go back by itself, once the program that it waited for was ended."""
LONGEST_PAUSE = 30.0
"""Seconds between two tries of a way back that fails: the first comes after one, each later one after twice as many."""


def begun_again_if_ended() -> None:
    """systemd takes SIGTERM, SIGHUP and SIGINT for a clean end, and starts what ended cleanly no more: so here they are
    a failure, unless the window is over."""

    def end(_signal: int, _frame: object) -> None:
        os._exit(1 if store.window_is_open() else 0)

    for name in ("SIGTERM", "SIGHUP", "SIGINT"):
        signal.signal(getattr(signal, name), end)


def expire(generation: int) -> None:
    """Sleep until the deadline, then go back unless the window was closed meanwhile. An apply that was killed while
    it wrote is undone at once, and one that hangs is ended first: it holds the lock, and the rules may be there."""
    while True:
        pending = store.pending()
        if pending is None or pending["generation"] != generation:
            break
        left = pending["deadline"] - window.now()
        if left <= 0 or _writer_is_gone(pending):
            break
        time.sleep(min(left, 1.0))
    _until_it_is_done(lambda: _take_back(generation))


def _take_back(generation: int) -> None:
    pending = store.pending()
    if pending is None:
        if window.left_open():  # it was closed, but not to its end
            with lock.locked():
                way_back.close_if_settled()
        return
    if pending["generation"] != generation:
        return
    if pending["writer"] is not None and not _writer_is_gone(pending):
        _end(pending)
    end_orphans()
    with lock.locked():
        way_back.recover(expired=generation)


def _end(pending: Dict[str, Any]) -> None:
    """End an apply that hangs: the program that it waits for first, so that it can go back by itself and say so."""
    writer = pending["writer"][0]
    for pid in lock.programs_of(writer):
        os.kill(pid, signal.SIGKILL)
    end = window.now() + GRACE
    while window.now() < end and not _writer_is_gone(pending):
        now = store.pending()
        if now is None or now["writer"] is None:
            return  # it went back, or goes on trying
        time.sleep(0.5)
    if not _writer_is_gone(pending):
        os.kill(writer, signal.SIGKILL)


def _writer_is_gone(pending: Dict[str, Any]) -> bool:
    return pending["writer"] is not None and lock.started(pending["writer"][0]) != pending["writer"][1]


def end_orphans() -> None:
    """End what a killed apply has left running: it would write what it was told to after we have gone back."""
    for pid in lock.orphans():
        os.kill(pid, signal.SIGKILL)


def until_it_is_done() -> None:
    """What a boot could not undo at once."""
    _until_it_is_done(after_boot)


def after_boot() -> None:
    """A boot within the window: go back."""
    if _is_at_work():
        return
    with lock.locked():
        way_back.recover(booted=True)


def _is_at_work() -> bool:
    """Whether there was no boot: somebody started the units of one within the window (`systemctl isolate`, say), and
    the watcher goes on waiting."""
    pending = store.pending()
    if pending is None:
        return False
    unit = window.watcher_of(pending["generation"])
    return run(["systemctl", "is-active", "--quiet", "--", unit], check=False).returncode == 0


def _until_it_is_done(go_back: Callable[[], None]) -> None:
    pause = 1.0
    while True:
        try:
            go_back()
            return
        except Exception as error:  # whatever it was (a full disk, a lock that is held): there is nobody else to try
            print("going back failed, and is tried again: {}".format(error), file=sys.stderr, flush=True)
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


def rules_after_boot() -> None:
    """The same, early: what is loaded before the network comes up are the rules that were confirmed last."""
    if _is_at_work():
        return
    with lock.locked():
        way_back.recover_rules()
