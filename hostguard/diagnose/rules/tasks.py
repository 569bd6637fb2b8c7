"""A service, or the host, is about to have no process or thread left, or has none: EAGAIN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose.rule import Asked, Finding, Rule, Said, Unread

FULL = 80
"""Percent of what there may be."""
PIDS, THREADS, LOAD = "/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max", "/proc/loadavg"


def asks(_asked: Asked) -> Mapping[str, Any]:
    return {
        "services": {"collect": "tasks", "percent": FULL},
        "host": {"collect": "texts", "patterns": [PIDS, THREADS, LOAD]},
    }


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread]:
    for each in said["services"]:
        mend, path = _mend(asked, each["unit"])
        yield Finding(
            subject=each["unit"],
            seen=f"{each['tasks']} processes and threads, and it may have {each['most']}",
            where=f"TasksCurrent and TasksMax of `systemctl show {each['unit']}`, pids.current of its cgroup",
            means='at the limit fork() and pthread_create() fail with EAGAIN ("Resource temporarily unavailable"): '
            "requests fail in a program that is well otherwise",
            mend=mend,
            key=path,
            concerns=(each["unit"],),
        )
    texts = said["host"]
    if missing := [path for path in (PIDS, THREADS, LOAD) if not texts.get(path)]:
        yield Unread(f"{', '.join(missing)}: there is no such file")
        return
    # The fourth word of loadavg: those that run now, of all (proc(5)).
    now = int(texts[LOAD].split()[3].partition("/")[2])
    most, key_of = min((int(texts[path]), path) for path in (PIDS, THREADS))
    if now * 100 > most * FULL:
        key = key_of.removeprefix("/proc/sys/").replace("/", ".")
        yield Finding(
            subject="the host",
            seen=f"{now} processes and threads, and the kernel gives {most}",
            where=f"{LOAD}, {key_of}",
            means="past it no process starts on this host, a login neither (EAGAIN)",
            mend=f"find who starts them (`ps -eLo comm | sort | uniq -c | sort -n`); else raise {key} under `kernel`",
            key=("kernel", key),
        )


def _mend(asked: Asked, unit: str) -> tuple[str, tuple[str, ...]]:
    for name, each in (asked.policy.slices or {}).items():
        if unit in each.units and each.tasks_max:
            words = f"`tasks_max` of its slice is {each.tasks_max}, for all of its units; TasksMax= is the unit's own"
            return f"look for threads that never end; else raise it: {words}", ("slices", name, "tasks_max")
    return "look for threads that never end; else raise TasksMax= in a drop-in of the unit, and restart it", ()


RULE = Rule(
    id="tasks",
    title="A service runs out of processes and threads",
    symptoms=("Resource temporarily unavailable", "EAGAIN", "[Errno 11]", "can't start new thread", "fork: retry"),
    article="EAGAIN / Resource unavailable",
    by_hand="""\
systemctl show UNIT --property=TasksCurrent,TasksMax
cut -d' ' -f4 /proc/loadavg; cat /proc/sys/kernel/threads-max /proc/sys/kernel/pid_max""",
    means="EAGAIN of fork(), clone() and pthread_create() says that a limit of processes is reached: that of the "
    "unit's cgroup (TasksMax=, of its slice too), or the kernel's for the whole host. Each thread counts. A limit of "
    "open files has another word, EMFILE.",
    mend="A number that grows without end is a leak of threads: often a client that waits without a timeout. Else "
    "raise `slices.NAME.tasks_max`, or TasksMax= of the unit; for the host `kernel.threads-max` and `kernel.pid_max` "
    "under `kernel`.",
    looks_at=f"processes and threads of every service and of the host, against {FULL} % of what there may be",
    asks=asks,
    judges=judges,
)
