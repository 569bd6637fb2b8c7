"""Running programs, by their names."""

from __future__ import annotations

import os
from typing import Any, Dict, List

from ..kinds import process
from . import Request


def processes(request: Request) -> Any:
    """{name: [arguments, …]} of the processes with these `names` that see the network as we do: a container's own
    resolver is none of the host's."""
    found: Dict[str, List[List[str]]] = {}
    for pid in process.pids():
        name = process.command(pid)
        if name not in request["names"]:
            continue
        try:
            if os.readlink("/proc/{}/ns/net".format(pid)) != os.readlink("/proc/self/ns/net"):
                continue
            with open("/proc/{}/cmdline".format(pid), encoding="utf-8", errors="replace") as file:
                found.setdefault(name, []).append(file.read().rstrip("\0").split("\0"))
        except FileNotFoundError:
            continue  # it ended while we looked
    return found
