"""Files, and what stands about them: never the content of one that may be a secret."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
from typing import Any, Dict, List

from ..kinds.mount import has_access_list
from ..plain_file import opened
from ..resource import HostError
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


LONGEST_NOTE = 64


def notes(request: Request) -> Any:
    """{path: text} of those of `paths` that are there, plain files in a folder that another account owns; of each the
    first bytes alone."""
    found = {}
    for path in request["paths"]:
        with contextlib.suppress(FileNotFoundError), opened(path) as file:
            found[path] = file.read(LONGEST_NOTE).decode("utf-8", "replace")
    return found


def tree(request: Request) -> Any:
    """Mode and owner of everything below a folder, and of the folder; never a content. Raises HostError for more than
    anybody would look through: an account may make as many as it likes in a folder of its own."""
    top = request["path"]
    found = [_described(top, top)] if os.path.isdir(top) else []
    folders = [top] if found else []
    while folders:
        folder = folders.pop()
        for path in sorted(_within(folder)):
            try:
                found.append(_described(path, top))
            except FileNotFoundError:
                continue  # a secret is rotated while we look
            if found[-1]["folder"]:
                folders.append(path)
            if len(found) > MOST or path.count("/") - top.count("/") > DEEPEST:
                said = "{}: more than {:,} files and folders are below it, or more than {} levels: look what is in {}"
                raise HostError(said.format(top, MOST, DEEPEST, folder))
    return found


MOST, DEEPEST = 10_000, 16


def _within(folder: str) -> List[str]:
    """What is in it. An audit must not leave out what it may not read."""
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []  # it was taken away while we looked, or is something else by now: it was described


def places(request: Request) -> Any:
    """The same of each of `paths`, and which file it is (`inode`); None where there is nothing."""
    return {path: _place(path) if os.path.lexists(path) else None for path in request["paths"]}


def _place(path: str) -> Dict[str, Any]:
    status = os.lstat(path)
    return dict(_described(path, path), inode="{}:{}".format(status.st_dev, status.st_ino))


def _end(path: str) -> str:
    """Where a link leads. The kernel follows 40 of them, and Python's own way knows no end."""
    try:
        os.stat(path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            return os.readlink(path)
    return os.path.realpath(path)


def _described(path: str, top: str) -> Dict[str, Any]:
    status = os.lstat(path)
    link = stat.S_ISLNK(status.st_mode)
    target = _end(path) if link else path
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
