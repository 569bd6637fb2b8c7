"""A file in a folder that somebody else may write: opened as a plain file and as nothing else.

An attacker may control the account that owns the folder. A pipe would keep root waiting, a device answers for ever, and
a link leads to what only root may read.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, List


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
