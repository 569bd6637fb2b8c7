"""Where systemd keeps a unit's cgroup, on the unified hierarchy (v2) and on the older ones (v1, hybrid)."""

from __future__ import annotations

import errno
import os
from typing import List, Optional

ROOT = "/sys/fs/cgroup"


def unified() -> bool:
    return os.path.exists(os.path.join(ROOT, "cgroup.controllers"))


def folder(controller: str, path: str) -> str:
    """The folder of a cgroup path (`/hostguard.slice/…`) under a v1 controller, or in the one tree of v2."""
    return os.path.join(ROOT, *([] if unified() else [controller]), path.lstrip("/"))


def slice_path(name: str) -> str:
    """systemd nests slices at their dashes: a-b.slice lives in /a.slice/a-b.slice (systemd.slice(5))."""
    words = name[: -len(".slice")].split("-")
    return "/" + "/".join("-".join(words[:count]) + ".slice" for count in range(1, len(words) + 1))


def setting(controller: str, path: str, name: str) -> Optional[str]:
    at = os.path.join(folder(controller, path), name)
    try:
        with open(at, encoding="ascii", errors="replace", newline="\n") as file:
            return file.read().strip()
    except FileNotFoundError:
        return None


def processes(path: str) -> List[int]:
    """The processes in a cgroup and below it, where it may be the service's own to make others."""
    found: List[int] = []
    groups = [folder("systemd", path)]
    while groups:
        group = groups.pop()
        try:
            groups += [each.path for each in os.scandir(group) if each.is_dir(follow_symlinks=False)]
            with open(os.path.join(group, "cgroup.procs"), encoding="ascii", newline="\n") as file:
                found += [int(pid) for pid in file.read().split()]
        except OSError as error:
            # It was removed while we looked; or it is threaded, and the group above has its processes (cgroups(7)).
            if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                raise
    return sorted(found)


LIMITING = ("memory", "cpu", "pids")


def paths_of(pid: int) -> List[str]:
    """The cgroups of a process that bound it: one on v2; on v1 that of each controller, which need not agree."""
    found = []
    with open("/proc/{}/cgroup".format(pid), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            names = controllers.split(",")
            if (unified() and not controllers) or any(name in LIMITING for name in names):
                found.append(path)
    return found
