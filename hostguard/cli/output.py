"""stdout and stderr as every command can count on them: open, in an encoding that has every letter, and, where what is
written does not get through, an error of its own that no exit code of a finding stands for."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO, cast

STDOUT, STDERR = 1, 2


class CantWrite(Exception):
    """The result could not be written. `reader_left`: its reader went away (`| head`), and wants no more."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the result can't be written: {error.strerror or error}")
        self.reader_left = isinstance(error, BrokenPipeError)


class _Stream:
    """A text stream that raises CantWrite where the operating system refuses, or (`quiet`) loses what it refuses."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self._stream, self._quiet = stream, quiet

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if not self._quiet:
            raise CantWrite(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Make both streams what this module promises. Raises CantWrite where stdout is closed: nothing was done yet."""
    closed = sys.stdout is None
    for number in range(3):  # what is opened next must not take the number of a stream that is closed
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 - the same
    sys.stderr = cast(TextIO, _Stream(_legible(sys.stderr), quiet=True))
    if closed:
        raise CantWrite(OSError(0, "stdout is closed"))
    sys.stdout = cast(TextIO, _Stream(_legible(sys.stdout), quiet=False))


def _legible(stream: TextIO) -> TextIO:
    """A file and a pipe get UTF-8 whatever the locale says, since programs read them; a terminal gets escapes for what
    it has no letter for."""
    if hasattr(stream, "reconfigure"):
        if stream.isatty() or (stream.encoding or "").lower().replace("-", "") == "utf8":
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    return stream


def finish() -> None:
    """Write what is not written yet. Raises CantWrite."""
    sys.stdout.flush()


def give_up() -> None:
    """What could not be written is lost: Python would try again at its end, and exit with a code of its own."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
