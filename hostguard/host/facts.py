"""What the placeholders of a bundle stand for on this host."""

from __future__ import annotations

import grp
import os
import pwd
import re
from typing import Iterable, Optional, Tuple

from .resource import Facts


def gather(names: Iterable[str]) -> Facts:
    """The facts asked for; a name that stands for nothing here (an account that is missing) is left out."""
    facts: Facts = {}
    for name in names:
        found = _fact(name)
        if found is not None:
            facts[name] = found
    return facts


def _fact(name: str) -> Optional[str]:
    what, _, who = name.partition(":")
    try:
        if what == "uid":
            return str(pwd.getpwnam(who).pw_uid)
        if what == "gid":
            return str(grp.getgrnam(who).gr_gid)
    except KeyError:
        return None
    if what == "noswap":
        return ",noswap" if tmpfs_can_refuse_swap() else ""
    return None


def account_of(uid: int) -> str:
    """The account's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def kernel_release() -> Tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def tmpfs_can_refuse_swap() -> bool:
    """tmpfs has `noswap` since Linux 6.4, and only for the machine's own root: a user namespace is refused it."""
    return kernel_release() >= (6, 4) and not in_user_namespace()


def in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii") as file:
            return file.read().split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def in_container() -> bool:
    """Whether the machine-wide sysctls belong to somebody else. systemd writes the first file in any container
    that it boots in; podman and docker leave the others."""
    return in_user_namespace() or any(
        os.path.exists(path) for path in ("/run/systemd/container", "/run/.containerenv", "/.dockerenv")
    )


def has_ipv6() -> bool:
    return os.path.exists("/proc/sys/net/ipv6")
