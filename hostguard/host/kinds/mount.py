"""A tmpfs, mounted now. What mounts it at the next boot is a unit file, a resource of its own."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

from ..program import run
from ..resource import ABSENT, ABSENT_HERE, VALUE, Difference, HostError, Observation, Resource, value

MOUNTS = "/proc/self/mountinfo"
UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3, "": 1}


def parse(text: str) -> List[Dict[str, Any]]:
    """/proc/self/mountinfo (proc(5)), oldest mount first: the last one at a path is the one that is seen there."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        path = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), fields[4])
        options = set(fields[5].split(",")) | set(tail[2].split(","))
        mounts.append({"path": path, "type": tail[0], "options": sorted(options)})
    return mounts


def mounted(path: str) -> Optional[Dict[str, Any]]:
    with open(MOUNTS, encoding="utf-8") as file:
        return next((m for m in reversed(parse(file.read())) if m["path"] == path), None)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    seen = {}
    for resource in resources:
        path = resource["path"]
        found = mounted(path)
        if found is None:
            hidden = os.path.isdir(path) and not os.path.islink(path) and bool(os.listdir(path))
            # The reason travels with the absence: mounting over files hides them, it does not remove them.
            seen[resource["id"]] = ABSENT_HERE._replace(reason="holds files" if hidden else "")
            continue
        status = os.stat(path)
        settings = dict(option.partition("=")[::2] for option in found["options"])
        seen[resource["id"]] = value(
            {
                "type": found["type"],
                "options": sorted(set(options(resource)) & set(found["options"])),
                "size": str(size_of(settings.get("size", ""))),
                "mode": "{:04o}".format(status.st_mode & 0o7777),
                "uid": str(status.st_uid),
                "gid": str(status.st_gid),
            }
        )
    return seen


def size_of(text: str) -> int:
    """A tmpfs size as the kernel prints it (`16384k`) in bytes; 0 where it has none."""
    match = re.fullmatch(r"(\d+)([kmg]?)", text)
    return int(match.group(1)) * UNITS[match.group(2)] if match else 0


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    path = resource["path"]
    if seen.state == ABSENT:
        blocked = ""
        if seen.reason:
            blocked = "{0} holds files that the mount would hide, not remove: move them away".format(path)
        return [Difference("mount", "not mounted" + (", holds files" if blocked else ""), wanted(resource), blocked)]
    if seen.state != VALUE:
        return []
    have = seen.value
    if have["type"] != "tmpfs":
        return [Difference("type", have["type"], "tmpfs", "{} is a mounted {}: unmount it".format(path, have["type"]))]
    found = []
    lacking = [o for o in options(resource) if o not in have["options"]]
    if lacking:
        # Linux refuses to add noswap to a mounted tmpfs: pages that were swapped out would stay out.
        blocked = "stop what uses {0}, then umount {0}, and apply again".format(path) if "noswap" in lacking else ""
        found.append(Difference("options", ",".join(have["options"]), ",".join(options(resource)), blocked))
    for field in ("size", "mode", "uid", "gid"):
        if have[field] != resource[field]:
            found.append(Difference(field, have[field], resource[field]))
    return found


def options(resource: Resource) -> List[str]:
    return [option for option in ",".join(resource["options"]).split(",") if option]


def wanted(resource: Resource) -> str:
    return "tmpfs at {}, {}, size {}, mode {}, owner {}:{}".format(
        resource["path"], ",".join(options(resource)), *(resource[f] for f in ("size", "mode", "uid", "gid"))
    )


def seen_as(resource: Resource, seen: Observation) -> str:
    have = seen.value
    return "{} at {}, {}, size {}, mode {}, owner {}:{}".format(
        have["type"],
        resource["path"],
        ",".join(have["options"]),
        *(have[f] for f in ("size", "mode", "uid", "gid")),
    )


def capture(resources: List[Resource]) -> Dict[str, Any]:
    saved = {}
    for resource in resources:
        path = resource["path"]
        missing, parent = [], path
        while not os.path.isdir(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        saved[resource["id"]] = {
            "path": path,
            "before": read([resource])[resource["id"]].value if mounted(path) else None,
            "missing_parents": missing,
        }
    return saved


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    for resource in resources:
        path = resource["path"]
        if seen[resource["id"]].state == ABSENT:
            _make(path, options(resource), resource)
        else:
            _reshape(path, options(resource), resource)


def _make(path: str, wanted_options: List[str], settings: Dict[str, Any]) -> None:
    fields = ["{}={}".format(field, settings[field]) for field in ("size", "mode", "uid", "gid")]
    os.makedirs(path, mode=0o755, exist_ok=True)
    _mount(["-t", "tmpfs", "-o", ",".join(wanted_options + fields), "tmpfs", path])


def _reshape(path: str, wanted_options: List[str], settings: Dict[str, Any]) -> None:
    _mount(["-o", ",".join(["remount", *wanted_options, "size={}".format(settings["size"])]), path])
    os.chown(path, int(settings["uid"]), int(settings["gid"]))
    os.chmod(path, int(settings["mode"], 8))


def _mount(arguments: List[str]) -> None:
    run(["mount", *arguments])


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    for resource in resources:
        saved = captured[resource["id"]]
        if saved["before"] is not None and mounted(saved["path"]) is None:
            _make(saved["path"], saved["before"]["options"], saved["before"])
            continue
        if saved["before"] is not None:
            lost = [o for o in options(resource) if o not in saved["before"]["options"] and o != "noswap"]
            _reshape(saved["path"], saved["before"]["options"] + [o[2:] for o in lost], saved["before"])
            continue
        if mounted(saved["path"]) is not None:
            busy = run(["umount", saved["path"]], check=False).returncode != 0
            if busy:  # a service holds a file open: out of sight now, gone when it lets go
                run(["umount", "--lazy", saved["path"]])
        for parent in saved["missing_parents"]:
            try:
                os.rmdir(parent)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise HostError("{}: can't remove: {}".format(parent, error.strerror)) from None
