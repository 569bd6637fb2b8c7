"""The host's own watch over a confirm window: a process that outlives the apply, and the next boot."""

from __future__ import annotations

import time

from . import store, transaction, window
from .resource import HostError


def expire(generation: int) -> None:
    """Sleep until the deadline, then go back unless the window was closed meanwhile."""
    while True:
        pending = store.pending()
        if pending is None or pending["generation"] != generation:
            return
        left = pending["deadline"] - window.now()
        if pending["boot"] == window.boot_id() and left > 0:
            time.sleep(min(left, 1.0))
            continue
        try:
            transaction.rollback(None, lambda _: None, expired=generation)
            return
        except HostError:
            time.sleep(1.0)  # an apply that is still writing holds the lock; it ends, or is undone by us


def after_boot() -> None:
    """A boot within the window: go back."""
    with store.locked():
        transaction.recover()
