"""Files, and what stands about them: never the content of one that may be a secret."""

from __future__ import annotations

import glob
import os
import stat
from typing import Any, Dict

from ..kinds.mount import has_access_list
from . import Request


def text(request: Request) -> Any:
    """A file's text; None where there is no such file."""
    try:
        with open(request["path"], encoding="utf-8", errors="replace", newline="\n") as file:
            return file.read()
    except FileNotFoundError:
        return None


def texts(request: Request) -> Any:
    """{path: text} of the files that a pattern (glob) of `patterns` stands for."""
    paths = sorted({path for pattern in request["patterns"] for path in glob.glob(pattern) if os.path.isfile(path)})
    return {path: text({"path": path}) for path in paths}


def tree(request: Request) -> Any:
    """Mode and owner of everything below a folder, and of the folder; never a content."""
    top = request["path"]
    found = [_described(top, top)] if os.path.isdir(top) else []
    for folder, folders, files in os.walk(top, onerror=_refuse):
        for name in sorted(folders + files):
            try:
                found.append(_described(os.path.join(folder, name), top))
            except FileNotFoundError:
                continue  # a secret is rotated while we look
    return found


def places(request: Request) -> Any:
    """The same of each of `paths`, and which file it is (`inode`); None where there is nothing."""
    return {path: _place(path) if os.path.lexists(path) else None for path in request["paths"]}


def _place(path: str) -> Dict[str, Any]:
    status = os.lstat(path)
    return dict(_described(path, path), inode="{}:{}".format(status.st_dev, status.st_ino))


def _refuse(error: OSError) -> None:
    """os.walk leaves out what it may not read, and an audit must not."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _described(path: str, top: str) -> Dict[str, Any]:
    status = os.lstat(path)
    link = stat.S_ISLNK(status.st_mode)
    target = os.path.realpath(path)
    return {
        "path": path,
        "link": link,
        "leads_out": target if link and not target.startswith(top + "/") else "",
        "folder": stat.S_ISDIR(status.st_mode),
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
        "more": has_access_list(path),
    }
