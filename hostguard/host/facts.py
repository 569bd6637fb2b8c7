"""What the placeholders of a bundle stand for on this host."""

from __future__ import annotations

import grp
import os
import pwd
import re
from typing import Dict, Iterable, Optional, Tuple

from .program import find
from .resource import Facts

Accounts = Dict[str, Dict[str, int]]
"""{"uid": {"root": 0, …}, "gid": {…}}"""
_of_image: Optional[Accounts] = None


def use_files_alone() -> None:
    """From now on accounts are what /etc/passwd and /etc/group say: the C library would load whatever programs an
    image's nsswitch.conf names."""
    global _of_image  # noqa: PLW0603 - said once, when the program starts on an image
    _of_image = {"uid": _numbers("/etc/passwd"), "gid": _numbers("/etc/group")}


def _numbers(path: str) -> Dict[str, int]:
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            rows = [line.split(":") for line in file]
    except FileNotFoundError:
        return {}
    return {row[0]: int(row[2]) for row in rows if len(row) > 2 and row[2].isdecimal()}


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
    if _of_image is not None and what in _of_image:
        return str(_of_image[what][who]) if who in _of_image[what] else None
    try:
        if what == "uid":
            return str(pwd.getpwnam(who).pw_uid)
        if what == "gid":
            return str(grp.getgrnam(who).gr_gid)
    except KeyError:
        return None
    if what == "program":
        return find(who)
    if what == "noswap":
        return ",noswap" if tmpfs_can_refuse_swap() else ""
    return None


def account_of(uid: int) -> str:
    """The account's name, or its number where it has none."""
    if _of_image is not None:
        return _name_of("uid", uid)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_of(gid: int) -> str:
    """The group's name, or its number where it has none."""
    if _of_image is not None:
        return _name_of("gid", gid)
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _name_of(what: str, number: int) -> str:
    names = [name for name, found in (_of_image or {})[what].items() if found == number]
    return names[0] if names else str(number)


def kernel_release() -> Tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def tmpfs_can_refuse_swap() -> bool:
    """tmpfs has `noswap` since Linux 6.4, and only for the machine's own root: a user namespace is refused it."""
    return kernel_release() >= (6, 4) and not in_user_namespace()


def in_user_namespace() -> bool:
    try:
        with open("/proc/self/uid_map", encoding="ascii", newline="\n") as file:
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


def boot_id() -> str:
    """Another one after each boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii", newline="\n") as file:
        return file.read().strip()
