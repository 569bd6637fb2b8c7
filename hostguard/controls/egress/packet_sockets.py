"""Processes that could send frames past the rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hostguard.control import Context, Verdict


def asks(_context: Context) -> Mapping[str, Any]:
    return {"sockets": {"collect": "packet-sockets"}}


def judges(_context: Context, said: Mapping[str, Any]) -> Verdict:
    found = said["sockets"]
    expected = "no process that sends frames past the rules"
    if found["xdp"]:
        return Verdict("fail", expected, f"AF_XDP sockets, which nothing holds: {_processes(found['xdp'])}")
    if found["packet"] and not found["held"]:
        return Verdict("fail", expected, f"packet sockets, and nothing holds frames: {_processes(found['packet'])}")
    if found["packet"]:
        return Verdict("pass", expected, f"frames are held, those of {_processes(found['packet'])} too")
    return Verdict("pass", expected, "none has a packet socket or an AF_XDP socket now")


def _processes(holders: Sequence[Sequence[Any]]) -> str:
    return ", ".join(dict.fromkeys(f"{command} ({pid})" if pid else command for pid, command, *_ in holders))
