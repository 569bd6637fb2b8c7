"""What /proc tells of processes. Some of it may keep whoever asks waiting: children.aside."""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from typing import Dict, Iterator, List, Optional, Tuple

from . import plain_file

FILES, CORE = "Max open files", "Max core file size"
"""Names of limits as /proc/PID/limits has them."""
_looked_at: Optional[mmap.mmap] = None


def note_in(place: mmap.mmap) -> None:
    """In a child that looks: from now on `looking_at` writes there."""
    global _looked_at  # noqa: PLW0603 - in the child alone
    _looked_at = place


def looking_at(pid: int) -> None:
    """Who looks aside says at which process, so that one that keeps it waiting has a name."""
    if _looked_at is not None:
        struct.pack_into("=I", _looked_at, 0, pid)


def pids() -> Iterator[int]:
    """Of all processes, the oldest number first; but for the child that looks, which has what its parent has open."""
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdecimal()):
        if _looked_at is None or pid != os.getpid():
            looking_at(pid)
            yield pid


def folder(pid: int) -> str:
    """Where /proc shows the files and the memory of a process: once its first thread has ended, which any process may
    let end, another thread's folder alone has them."""
    first = "/proc/{}".format(pid)
    try:
        if not _has_ended(first):
            return first
        threads = ("{}/task/{}".format(first, name) for name in os.listdir(first + "/task"))
        return next((thread for thread in threads if not _has_ended(thread)), first)
    except OSError:
        return first  # all of it ended while we looked


def _has_ended(thread: str) -> bool:
    return status(thread).get("State", "")[:1] in ("Z", "X")


def status(thread: str) -> Dict[str, str]:
    """The fields of a status file (proc_pid_status(5)), of a process's folder or of a thread's. Raises OSError. In its
    name the kernel escapes a line end."""
    with open(thread + "/status", encoding="utf-8", errors="replace", newline="\n") as file:
        return dict(line.rstrip("\n").partition(":\t")[::2] for line in file)


def descriptors(pid: int) -> Iterator[str]:
    """The link of each descriptor of a process; none of one that we may not see, or that ended."""
    here = "/proc/{}/fd".format(pid)
    names = _listed(here)
    if not names:  # it has none, or its first thread has ended: root finds that one's folder empty, all others closed
        here = folder(pid) + "/fd"
        names = _listed(here)
    for name in names:
        yield os.path.join(here, name)


def leads_to(pid: int) -> Iterator[str]:
    """What each descriptor of a process leads to."""
    for descriptor in descriptors(pid):
        with contextlib.suppress(OSError):
            yield os.readlink(descriptor)


def files_open(pid: int) -> int:
    """How many files a process has open. Raises OSError."""
    # Linux 6.2 says the number as the folder's size, where a list of a million names takes a second.
    return os.stat("/proc/{}/fd".format(pid)).st_size or len(os.listdir(folder(pid) + "/fd"))


def _listed(path: str) -> List[str]:
    with contextlib.suppress(OSError):
        return os.listdir(path)
    return []


def command(pid: int, unknown: str = "?") -> str:
    try:
        with open("/proc/{}/comm".format(pid), encoding="utf-8", errors="replace", newline="\n") as file:
            return file.read().strip()
    except OSError:
        return unknown


def started(pid: int) -> int:
    """starttime, in ticks since the boot. Raises OSError."""
    return int(_stat(pid)[1][19])


def parent(pid: int) -> Tuple[str, int]:
    """The name of a process, and the number of the one that it came from. Raises OSError."""
    name, fields = _stat(pid)
    return name, int(fields[1])


def _stat(pid: int) -> Tuple[str, List[str]]:
    """The name in /proc/PID/stat, which stands in brackets and may hold any byte, and the fields from the third on."""
    with open("/proc/{}/stat".format(pid), encoding="utf-8", errors="replace", newline="\n") as file:
        head, _, tail = file.read().rpartition(")")
    return head.partition("(")[2], tail.split()


def environment(pid: int) -> List[bytes]:
    """The entries that a process was started with; none where there is no process. Raises HostError for more than any
    is started with: a process may claim that its environment is as large as it likes (prctl(2), PR_SET_MM_MAP)."""
    try:
        with open(folder(pid) + "/environ", "rb") as file:
            return plain_file.most(file, plain_file.LARGEST).split(b"\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def arguments(pid: int) -> List[str]:
    """The words that a process was started with, as far as it has not written over them. Raises OSError, and HostError
    as `environment` does."""
    with open(folder(pid) + "/cmdline", "rb") as file:
        said = plain_file.most(file, plain_file.LARGEST)
    return said.decode("utf-8", "replace").rstrip("\0").split("\0")


def soft_limit(pid: int, name: str) -> int:
    """The soft limit of a process (FILES or CORE). Raises OSError."""
    with open("/proc/{}/limits".format(pid), encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            if line.startswith(name):
                soft = line[len(name) :].split()[0]
                return 2**63 if soft == "unlimited" else int(soft)
    return 0
