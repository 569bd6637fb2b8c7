"""The end of a log that somebody else writes, as it grows: whole lines, whatever becomes of the file meanwhile.

Who writes it may be broken into: it is opened as a plain file and as nothing else, and what is kept of it is bounded.
"""

from __future__ import annotations

import os
from typing import Iterator, List, Optional

from .plain_file import descriptor

LONGEST_LINE = 64 << 10
AT_ONCE = 4 << 20
"""Bytes that are handed out at one look; what is beyond is counted by its lines."""
COUNTED = 64 << 20
"""Bytes of which the lines are counted at one look."""
BLOCK = 1 << 20


class Follower:
    """From the end that the file has when it is first seen. A file that comes later is read from its beginning."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.why = ""
        """Why it can't be followed now; "" where it is followed."""
        self.missing = False
        self._lost = 0
        self._fd: Optional[int] = None
        self._looked = False
        self._at = 0
        self._rest = b""
        self._within = False
        """We are in a line of which the beginning was not kept."""

    def take_lost(self) -> int:
        """Lines that came, and were not handed out, since the last call: too long, or too many at once."""
        lost, self._lost = self._lost, 0
        return lost

    def look(self) -> List[bytes]:
        """The lines that were ended since the last look."""
        found = self._read()
        if self._is_another():
            found += self._read()  # what came before the other one was there
            self._open()
            found += self._read()
        self._looked = self._looked or self.missing or self._fd is not None
        return found

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _is_another(self) -> bool:
        """Whether another file stands at the path than the one that is open."""
        try:
            there = os.lstat(self.path)
        except OSError as error:
            self.missing = isinstance(error, FileNotFoundError)
            # While it is rotated, nothing stands there for a moment.
            self.why = "" if self.missing and self._fd is not None else error.strerror or str(error)
            return False
        if self._fd is None:
            return True
        now = os.fstat(self._fd)
        return (now.st_dev, now.st_ino) != (there.st_dev, there.st_ino)

    def _open(self) -> None:
        self.close()
        self._at, self._rest, self._within, self.missing = 0, b"", False, False
        try:
            self._fd = descriptor(self.path)
        except OSError as error:
            self.why = error.strerror or str(error)
            return
        self.why = ""
        if not self._looked:
            self._at = os.fstat(self._fd).st_size
            self._within = self._at > 0 and os.pread(self._fd, 1, self._at - 1) != b"\n"

    def _read(self) -> List[bytes]:
        if self._fd is None:
            return []
        size = os.fstat(self._fd).st_size
        if size < self._at:
            self._at, self._rest, self._within = 0, b"", False
        end = min(size, self._at + AT_ONCE)
        found = [line for block in self._blocks(end) for line in self._lines(block)]
        if size > end:
            self._lost += self._count(size)
            self._rest, self._within = b"", True
        return found

    def _blocks(self, end: int) -> Iterator[bytes]:
        while self._fd is not None and self._at < end:
            block = os.pread(self._fd, min(BLOCK, end - self._at), self._at)
            if not block:
                return
            self._at += len(block)
            yield block

    def _lines(self, block: bytes) -> Iterator[bytes]:
        *ended, rest = (self._rest + block).split(b"\n")
        self._rest = rest
        for line in ended:
            if self._within:
                self._within = False
            elif len(line) > LONGEST_LINE:
                self._lost += 1
            elif line:
                yield line
        if len(self._rest) > LONGEST_LINE:
            self._lost += not self._within
            self._rest, self._within = b"", True

    def _count(self, size: int) -> int:
        """The lines up to there, unread; those beyond what is counted as one."""
        lines = sum(block.count(b"\n") for block in self._blocks(min(size, self._at + COUNTED)))
        beyond = self._at < size
        self._at = size
        return lines + beyond
