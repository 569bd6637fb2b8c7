"""The one right to change this host, and who has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import Iterator, List

from . import proc, program, store
from .resource import HostError

LOCK = store.FOLDER + "/lock"
LOCK_LENGTH = 64


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the one right to change this host. Raises HostError at once where another hostguard has it.

    Every program that is started meanwhile holds it too, and until it ends: one that outlives us, and then writes what
    it was told to, must not meet somebody who has gone back already.
    """
    store.make_folder(store.GENERATIONS, 0o700)
    os.chmod(store.FOLDER, 0o700)  # the records hold what other tools wrote, whatever its mode was
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError("another hostguard is changing this host: wait for it ({})".format(LOCK)) from None
        # Over what was there, and as long: a full disk has room for it.
        who = "{} {}".format(os.getpid(), started(os.getpid()))
        os.pwrite(descriptor, who.ljust(LOCK_LENGTH).encode("ascii"), 0)
        store.clear()
        program.held.append(descriptor)
        # Whatever the caller's says: under 027 a folder on the way to the secrets would be closed to their owner.
        asked = os.umask(0o022)
        try:
            yield
        finally:
            os.umask(asked)
            program.held.remove(descriptor)
    finally:
        os.close(descriptor)


def started(pid: int) -> str:
    """When a process of our account began, in ticks since boot: numbers are used again, start times are not. ""
    without it. Another account's is not asked: it could keep us waiting (children.aside)."""
    try:
        return str(proc.started(pid)) if _is_ours(pid) else ""
    except (OSError, IndexError):
        return ""


def orphans() -> List[int]:
    """The processes that still hold the lock of one that is gone."""
    try:
        who, there = _who(), os.stat(LOCK)
    except FileNotFoundError:
        return []
    pid, _, since = who.partition(" ")
    if not pid.isdigit() or started(int(pid)) == since:
        return []
    found = _holders(there)
    # Another hostguard may have taken the lock in between: then it is among them.
    return found if _who() == who else []


def _who() -> str:
    with open(LOCK, encoding="ascii", errors="replace", newline="\n") as file:
        return file.read().strip()


def programs_of(pid: int) -> List[int]:
    """The programs of a process that holds the lock, which hold it too."""
    return [each for each in _holders(os.stat(LOCK)) if each != pid]


def _holders(lock: os.stat_result) -> List[int]:
    return [each for each in proc.pids() if each != os.getpid() and _is_ours(each) and _has_open(each, lock)]


def _is_ours(pid: int) -> bool:
    """Whether a process is of our account by all four of its numbers, and so nobody else's to write."""
    try:
        return set(proc.status("/proc/{}".format(pid)).get("Uid", "").split()) == {str(os.geteuid())}
    except OSError:
        return False


def _has_open(pid: int, there: os.stat_result) -> bool:
    for descriptor in proc.descriptors(pid):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(descriptor), there):
                return True
    return False
