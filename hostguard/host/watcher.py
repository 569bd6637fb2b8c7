"""The host's own watch over a confirm window: a process that outlives the apply, and the next boot."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any, Dict

from . import store, way_back, window


def expire(generation: int) -> None:
    """Sleep until the deadline, then go back unless the window was closed meanwhile. An apply that was killed while
    it wrote is undone at once, and one that hangs is ended first: it holds the lock, and the rules may be there."""
    while True:
        pending = store.pending()
        if pending is None or pending["generation"] != generation:
            return
        left = pending["deadline"] - window.now()
        if left > 0 and not _writer_is_gone(pending):
            time.sleep(min(left, 1.0))
            continue
        try:
            _end_writer(pending)
            answer = way_back.rollback(None, lambda _: None, expired=generation)
            if answer["outcome"] != "failed":
                return
            trouble = "; ".join(answer["trouble"])
        except Exception as error:  # whatever it was (a full disk, a lock that is held): there is nobody else to try
            trouble = str(error)
        print("going back failed, and is tried again: " + trouble, file=sys.stderr, flush=True)
        time.sleep(1.0)


def _writer_is_gone(pending: Dict[str, Any]) -> bool:
    return pending["writer"] is not None and window.started(pending["writer"][0]) != pending["writer"][1]


def _end_writer(pending: Dict[str, Any]) -> None:
    if pending["writer"] is not None and not _writer_is_gone(pending):
        os.kill(pending["writer"][0], signal.SIGKILL)


def after_boot() -> None:
    """A boot within the window: go back."""
    try:
        with store.locked():
            way_back.recover(booted=True)
    except Exception:  # whatever it was: the watcher of before went with the boot, so another one tries again
        window.keep_trying(watched=False)
        raise


def rules_after_boot() -> None:
    """The same, early: what is loaded before the network comes up are the rules that were confirmed last."""
    with store.locked():
        way_back.recover_rules()
