"""What is mounted where, by the kernel's own list."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List, Optional

MOUNTS = "/proc/self/mountinfo"
IN_MEMORY = ("tmpfs", "ramfs")


def parse(text: str) -> List[Dict[str, Any]]:
    """/proc/self/mountinfo (proc(5)), oldest mount first: the last one at a path is the one that is seen there."""
    mounts = []
    # Of a path the kernel writes blanks, tabs and line ends as numbers, and all else as it is: whoever may mount (FUSE)
    # chooses what other programs take for a line's end.
    for line in filter(None, text.split("\n")):
        left, _, right = line.partition(" - ")
        fields, tail = left.split(" "), right.split(" ")
        path = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), fields[4])
        options = set(fields[5].split(",")) | set(tail[2].split(","))
        mounts.append({"path": path, "device": fields[2], "type": tail[0], "options": sorted(options)})
    return mounts


def mounts() -> List[Dict[str, Any]]:
    with open(MOUNTS, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return parse(file.read())


def mounted(path: str) -> Optional[Dict[str, Any]]:
    """The mount that is seen at a path. One that a later mount of a folder above it hides is not seen there."""
    found: Optional[Dict[str, Any]] = next((m for m in reversed(mounts()) if m["path"] == path), None)
    if found is None or device(path) != found["device"]:
        return None
    return found


def type_of(path: str) -> str:
    """Of the file system that a path is on, or will be."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    on = device(path)
    return next((str(each["type"]) for each in mounts() if each["device"] == on), "")


def device(path: str) -> str:
    """The file system that a path is on, as mountinfo writes it; "" where there is no such path."""
    try:
        number = os.stat(path).st_dev
    except FileNotFoundError:
        return ""
    return "{}:{}".format(os.major(number), os.minor(number))
