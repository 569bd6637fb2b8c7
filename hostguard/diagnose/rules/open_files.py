"""A process is about to have no file left, or has none: EMFILE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose.rule import Asked, Finding, Rule, Said, Unread

FULL = 80
"""Percent of the soft limit."""


def asks(_asked: Asked) -> Mapping[str, Any]:
    return {"files": {"collect": "open-files", "percent": FULL}}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread]:
    if not said["files"]["counted"]:
        yield Unread("no process was seen")
    for each in said["files"]["full"]:
        pid, unit = each["pid"], each["unit"]
        process = f"{each['command']} ({pid}), {each['account']}"
        mend, key = _mend(asked, unit, each["soft"])
        yield Finding(
            subject=unit or process,
            seen=f"{process}: {each['files']} files open, and it may have {each['soft']}",
            where=f"/proc/{pid}/fd; `Max open files` in /proc/{pid}/limits",
            means="at the limit accept(), socket() and open() fail with EMFILE: connections stay in the queue, and "
            "their callers wait until they time out",
            mend=mend,
            key=key,
            concerns=(unit,) if unit else (),
        )


def _mend(asked: Asked, unit: str, soft: int) -> tuple[str, tuple[str, ...]]:
    """What to do, and the key of it."""
    limits = asked.policy.limits
    wanted = asked.sizing.nofile
    of_unit = limits is not None and unit in limits.units
    if of_unit and soft < wanted:
        words = f"the policy gives it {wanted}, and it has {soft} since it was started: apply, then restart {unit}"
        return words, ("limits", "units")
    if of_unit:
        words = f"look for connections that nobody closes; else raise `nofile` above {wanted}, apply, and restart it"
        return words, ("limits", "nofile")
    if not unit or not unit.endswith(".service"):
        words = f"raise `nofile` ({wanted}) and log in again: a session keeps the limit that it began with"
        return words, ("limits", "nofile")
    return f"add {unit} to `units`: it gets {wanted} once it is restarted", ("limits", "units")


RULE = Rule(
    id="open-files",
    title="A process runs out of open files",
    symptoms=("Too many open files", "EMFILE", "[Errno 24]", "accept4() failed (24: Too many open files)"),
    article="EAGAIN / Resource unavailable",
    by_hand="""\
ls /proc/PID/fd | wc -l
grep 'Max open files' /proc/PID/limits
systemctl show UNIT --property=LimitNOFILESoft""",
    means="Each connection is an open file, and a proxy has two for each request. At its soft limit a process gets "
    'EMFILE ("Too many open files") of accept(), socket() and open(); EAGAIN, which is often named for it, is the '
    "kernel's word for too many processes or threads. A limit holds from the start of a process on: a new drop-in "
    "changes nothing of what runs.",
    mend="`limits.nofile` is the number, `limits.units` who gets it; left out, it follows from `capacity`. Then "
    "`hostguard apply`, and a restart of the service. A number that grows for days is a leak, and no limit mends it.",
    looks_at=f"open files of every process, against {FULL} % of its soft limit (/proc/PID/fd, /proc/PID/limits)",
    asks=asks,
    judges=judges,
)
