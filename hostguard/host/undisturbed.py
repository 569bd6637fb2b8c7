"""What a change of the host does not let itself be broken off by: a session that ends, a terminal that is gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import Callable, Iterator, List

Progress = Callable[[str], None]
"""Told in a few words what happens next."""


def heard_or_not(progress: Progress) -> Progress:
    """The listener's terminal may be gone: a failed progress message must not stop a way back."""

    def tell(words: str) -> None:
        with contextlib.suppress(Exception):
            progress(words)

    return tell


HELD = ("SIGHUP", "SIGINT", "SIGTERM", "SIGQUIT", "SIGTSTP", "SIGTTIN", "SIGTTOU")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """A session that ends, a Ctrl-C or a Ctrl-Z waits until the host is whole again.

    Handled, not masked: a mask is one thread's, and the signal would take another one's way to the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: List[int] = []
    before = {s: signal.signal(s, lambda number, _: came.append(number)) for s in (getattr(signal, n) for n in HELD)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number in dict.fromkeys(came):
            os.kill(os.getpid(), number)
