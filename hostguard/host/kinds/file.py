"""A regular file with given content, mode and owner."""

from __future__ import annotations

import base64
import os
import stat
from typing import Any, Dict, List

from ..facts import account_of, group_of
from ..resource import (
    ABSENT,
    ABSENT_HERE,
    VALUE,
    Difference,
    HostError,
    Observation,
    Resource,
    each,
    value,
)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    return {resource["id"]: _read(resource["path"]) for resource in resources}


def _read(path: str) -> Observation:
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return value({"type": _type(status.st_mode), "content": "", "mode": "", "owner": "", "group": ""})
        with open(path, "rb") as file:
            content = file.read().decode("utf-8", "backslashreplace")
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT_HERE
    return value(
        {
            "type": "file",
            "content": content,
            "mode": "{:04o}".format(stat.S_IMODE(status.st_mode)),
            "owner": account_of(status.st_uid),
            "group": group_of(status.st_gid),
        }
    )


def _type(mode: int) -> str:
    return "a symbolic link" if stat.S_ISLNK(mode) else "a directory" if stat.S_ISDIR(mode) else "no regular file"


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state == ABSENT:
        return [Difference("content", "", resource["content"])]
    if seen.state != VALUE:
        return []
    have = seen.value
    if have["type"] != "file":
        blocked = "{} is {}: move it away".format(resource["path"], have["type"])
        return [Difference("type", have["type"], "a regular file", blocked if "directory" in have["type"] else "")]
    wanted = {"content": resource["content"], "mode": resource["mode"], "owner": "root", "group": "root"}
    return [Difference(key, have[key], want) for key, want in wanted.items() if have[key] != want]


def wanted(resource: Resource) -> str:
    return "{} as hostguard writes it".format(resource["path"])


def seen_as(resource: Resource, _seen: Observation) -> str:
    return str(resource["path"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {resource["id"]: snapshot(resource["path"]) for resource in resources}


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    for resource in resources:
        _place(resource["path"], resource["content"].encode(), int(resource["mode"], 8), 0, 0)


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    each(resources, lambda resource: put_back(captured[resource["id"]]))


def snapshot(path: str) -> Dict[str, Any]:
    """All that `put_back` needs to make `path` what it is now, as JSON."""
    parents = []
    parent = os.path.dirname(path)
    while not os.path.isdir(parent):
        parents.append(parent)
        parent = os.path.dirname(parent)
    saved: Dict[str, Any] = {"path": path, "type": "absent", "missing_parents": parents}
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return saved
    saved.update(mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid)
    saved["times"] = [status.st_atime_ns, status.st_mtime_ns]
    if stat.S_ISLNK(status.st_mode):
        saved.update(type="link", target=os.readlink(path))
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            saved.update(type="file", content=base64.b64encode(file.read()).decode("ascii"))
    else:
        raise HostError("{} is {}: move it away".format(path, _type(status.st_mode)))
    return saved


def put_back(saved: Dict[str, Any]) -> None:
    """Make a path what `snapshot` saw, down to its times, and remove the folders that were made for it."""
    path = saved["path"]
    if saved["type"] == "file":
        _place(path, base64.b64decode(saved["content"]), saved["mode"], saved["uid"], saved["gid"])
        os.utime(path, ns=(saved["times"][0], saved["times"][1]))
        return
    if os.path.lexists(path):
        os.unlink(path)
    if saved["type"] == "link":
        os.symlink(saved["target"], path)
        os.lchown(path, saved["uid"], saved["gid"])
        return
    for parent in saved["missing_parents"]:
        try:
            os.rmdir(parent)
        except OSError:
            break  # somebody else keeps something there by now


def _place(path: str, content: bytes, mode: int, uid: int, gid: int) -> None:
    """Write beside and rename over: a reader sees the old file or the new one, a power cut too."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o755, exist_ok=True)
    beside = os.path.join(folder, ".{}.hostguard".format(os.path.basename(path)))
    if os.path.lexists(beside):
        os.unlink(beside)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), uid, gid)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path)
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
