"""A file in a folder that somebody else may write: opened as a plain file and as nothing else.

An attacker may control the account that owns the folder. A pipe would keep root waiting, a device answers for ever, and
a link leads to what only root may read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import IO, List

from .resource import HostError

LARGEST = 8 << 20
"""Bytes: a kernel starts no program with more arguments and environment (execve(2)), and no such file is as large."""


def most(file: IO[bytes], limit: int) -> bytes:
    """All of it. Raises HostError where that is more than `limit` bytes: another account may let it be any size."""
    said = file.read(limit + 1)
    if len(said) > limit:
        raise HostError("{}: more than {} bytes".format(file.name, limit))
    return said


def changeable(path: str) -> str:
    """The first folder above a path in which another account may put something else in the way; "" where there is
    none. What is ours stays where it is in a folder with the sticky bit."""
    while path != "/":
        above = os.path.dirname(path)
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(above)
            stays = status.st_mode & stat.S_ISVTX and os.path.lexists(path) and _is_ours(os.lstat(path))
            if not _is_ours(status) or (status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not stays):
                return above
        path = above
    return ""


def _is_ours(status: os.stat_result) -> bool:
    """Or whoever may change everything: in a namespace that root is not mapped into, / is another number's."""
    return status.st_uid in (0, os.geteuid(), os.stat("/").st_uid)


def descriptor(path: str, links: bool = False) -> int:
    """Of the file, to be read. `links`: whether it may be one that leads to the file. Raises OSError, also for what is
    no plain file."""
    found = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if links else os.O_NOFOLLOW))
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "it is no plain file", path)
    return found


def opened(path: str, links: bool = False) -> IO[bytes]:
    """The same as a file object."""
    return os.fdopen(descriptor(path, links), "rb")


def tail(path: str, most: int) -> List[bytes]:
    """The lines in the last `most` bytes; the first of them may be cut. Raises OSError."""
    with opened(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most))
        return file.read(most).splitlines()
