"""Two consoles: stdout carries the result, stderr everything else."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from hostguard.status import Exit

if TYPE_CHECKING:
    from rich.console import Console

    from hostguard.host.undisturbed import Progress

PIPE_WIDTH = 120  # columns, where no terminal says


@functools.cache
def result() -> Console:
    return _console(sys.stdout)


@functools.cache
def remarks() -> Console:
    return _console(sys.stderr)


def _console(file: TextIO) -> Console:
    from rich.console import Console

    if file.isatty():
        return Console(file=file, highlight=False, no_color=not colour(file))
    return Console(file=file, highlight=False, no_color=True, force_terminal=False, soft_wrap=True, width=PIPE_WIDTH)


def colour(file: TextIO) -> bool:
    """FORCE_COLOR, which pipelines set for all of their tools, colours nothing: a result is read by programs too."""
    return file.isatty() and "NO_COLOR" not in os.environ


@contextmanager
def progress() -> Iterator[Progress]:
    """What goes on, in one line that changes, where stderr is a terminal; else nothing."""
    if not colour(sys.stderr):
        yield lambda _: None
        return
    with remarks().status("looking") as status:
        yield status.update


def agreed(question: str, yes: bool) -> bool:
    """Whether the person says yes; without `--yes` and without a terminal there is nobody to ask."""
    return yes or _asked(f"{question} [y/N] ").lower() in ("y", "yes")


def typed(question: str, words: str) -> bool:
    """Whether the person types these words: for what nobody should say yes to by habit."""
    return _asked(f'{question}, type "{words}": ') == words


def _asked(question: str) -> str:
    from hostguard.cli.failure import Stop

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Stop(Exit.CALL, ["there is no terminal to ask on: give --yes; nothing was touched"])
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()
