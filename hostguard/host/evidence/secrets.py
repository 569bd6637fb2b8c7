"""Files of secrets: how old and how long they are, and who may read them. None of them is opened."""

from __future__ import annotations

import grp
import os
import pwd
import stat
import time
from typing import Any, Dict, List, Set, Tuple

from ..facts import account_of
from ..kinds.mount import has_access_list
from ..mountinfo import IN_MEMORY
from . import Request

Account = Tuple[str, int, Set[int]]
"""Its name, its number, and its groups' numbers."""


def secret_files(request: Request) -> Any:
    """Of each of `paths`: seconds since it was written, bytes, whether it lies in memory, its owner, the accounts
    beside root that may read it, and whether an access list says more than its mode does; None where there is none."""
    accounts, mounts = _accounts(), _mounts()
    return {path: _of(path, accounts, mounts) for path in request["paths"]}


def _of(path: str, accounts: List[Account], mounts: List[Tuple[str, str]]) -> Any:
    try:
        os.stat(path)  # what leads round in circles is the kernel's to say: Python would follow it without end
        real = os.path.realpath(path)
        status = os.stat(real)
        way = [(real, status)]
        while real != "/":
            real = os.path.dirname(real)
            way.append((real, os.stat(real)))
    except FileNotFoundError:
        return None
    return {
        "age": max(0, int(time.time() - status.st_mtime)),
        "size": status.st_size,
        "in_memory": _type(way[0][0], mounts) in IN_MEMORY,
        "owner": account_of(status.st_uid),
        "readers": sorted(name for name, uid, groups in accounts if uid and _may(way, uid, groups)),
        "more": any(has_access_list(place) for place, _ in way),
    }


def _may(way: List[Tuple[str, os.stat_result]], uid: int, groups: Set[int]) -> bool:
    """Whether this account may read the first, and pass through the others."""
    needed = [stat.S_IROTH] + [stat.S_IXOTH] * (len(way) - 1)
    return all(_bits(status, uid, groups) & bit for (_, status), bit in zip(way, needed))


def _bits(status: os.stat_result, uid: int, groups: Set[int]) -> int:
    """The three bits of a mode that count for an account: those of the first class that it belongs to."""
    if status.st_uid == uid:
        return status.st_mode >> 6 & 7
    return (status.st_mode >> 3 if status.st_gid in groups else status.st_mode) & 7


def _accounts() -> List[Account]:
    members: Dict[str, Set[int]] = {}
    for group in grp.getgrall():
        for name in group.gr_mem:
            members.setdefault(name, set()).add(group.gr_gid)
    return [(each.pw_name, each.pw_uid, members.get(each.pw_name, set()) | {each.pw_gid}) for each in pwd.getpwall()]


def _mounts() -> List[Tuple[str, str]]:
    """Where each file system is mounted, and its type; the last of a place is what is seen there."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace", newline="\n") as file:
        rows = [line.split(" - ") for line in file]
    return [(row[0].split(" ")[4], row[1].split(" ")[0]) for row in rows]


def _type(path: str, mounts: List[Tuple[str, str]]) -> str:
    above = [(place, kind) for place, kind in mounts if (path + "/").startswith(place.rstrip("/") + "/")]
    return max(reversed(above), key=lambda each: len(each[0]), default=("", ""))[1]
