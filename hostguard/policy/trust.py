"""Whether nobody but its owner can change a policy that root is about to follow."""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Iterator
from pathlib import Path

OTHERS, GROUP = stat.S_IWOTH, stat.S_IWGRP


def distrusted(path: Path, uids: Container[int], gids: Container[int]) -> str:
    """Why others than these accounts and groups could have written the file, or put another in its place, and how to
    mend it; "" where they could not. What is not there, or can't be looked at, is somebody else's to tell."""
    for place in _on_the_way(path):
        try:
            found = place.lstat()
        except OSError:
            return ""
        if found.st_uid not in uids:
            return f"{place} belongs to {_account(found.st_uid)}, who can change it: chown root {place}"
        if stat.S_ISLNK(found.st_mode):
            continue  # nobody writes into a link: who may replace it is its folder's to say
        # In a folder with the sticky bit (/tmp) only its owner can replace a file.
        kept = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX
        if found.st_mode & OTHERS and not kept:
            return f"any account can write {place}: chmod o-w {place}"
        if found.st_mode & GROUP and found.st_gid not in gids and not kept:
            return f"the group {_group(found.st_gid)} can write {place}: chmod g-w {place}"
    return ""


def _on_the_way(path: Path) -> Iterator[Path]:
    """Every file, folder and link that leads to the file: as it is named, and as it truly is."""
    named, real = Path(os.path.abspath(path)), Path(os.path.realpath(path))  # noqa: PTH100 - links stay
    yield from dict.fromkeys([*reversed(named.parents), named, *reversed(real.parents), real])


def _account(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the account {uid}"


def _group(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
