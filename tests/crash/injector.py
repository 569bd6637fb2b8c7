"""Runs on a lab host in place of its Python: counts the changing calls of one process and of the children that look for
it, and lets one of them go wrong.

The host's `/opt/crash/python` starts it, and is what the program takes for its Python: what the program starts later,
its watcher and the units of a boot, comes through here too. What to do is in `PLAN`. `FIRED` says that it was done,
and a process that finds it does nothing, unless the fault stays. Both survive a loss of power. Standard library only.
"""

from __future__ import annotations

import builtins
import errno
import json
import mmap
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

FOLDER = "/opt/crash"
PYTHON = f"{FOLDER}/python"
PLAN, FIRED, POINTS = f"{FOLDER}/plan.json", f"{FOLDER}/fired", f"{FOLDER}/points"
REAL = "/usr/bin/python3"
LAUNCHER = f"""\
#!/bin/sh
case $1 in
-I) shift; exec {REAL} -I {FOLDER}/injector.py "$@" ;;
*) exec {REAL} {FOLDER}/injector.py "$@" ;;
esac
"""

WATCHED = ("/etc/", "/var/lib/", "/proc/sys/", "/sys/fs/cgroup/", "/run/")
KERNEL = ("/proc/", "/sys/")
IN_MEMORY = (*KERNEL, "/run/")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PROGRAM, SIGNAL = "program", "signal"
# What the interpreter tells before it makes a call, and what it is called here.
CALLS = {
    "os.rename": "rename",
    "os.remove": "remove",
    "os.rmdir": "rmdir",
    "os.mkdir": "mkdir",
    "os.symlink": "symlink",
    "os.link": "link",
    "os.chmod": "chmod",
    "os.chown": "chown",
    "os.utime": "utime",
    "os.truncate": "truncate",
    "os.setxattr": "setxattr",
    "os.removexattr": "removexattr",
}
# Programs that only look: who dies before one dies before whatever comes next.
LOOKS = re.compile(
    r"(?:^|/)(systemctl show|ipset save|ip6?tables-save|nft .*\blist\b|unshare --net|ip -json|openssl version"
    r"|journalctl)"
)
OF_THIS_RUN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}|(?<=/tmp/hostguard-)[a-z0-9_]{8}")
"""A time, and the name of a folder that was made for a moment."""
ENDING = ("kill", "kill-after", "power")
NEEDS_ROOM = ("open", "write", "fsync", "mkdir", "symlink", "link", "rename", "setxattr")
NAMES = {"enospc": errno.ENOSPC, "eio": errno.EIO, "erofs": errno.EROFS}


def fits(fault: str, what: str, subject: str) -> bool:
    """Whether this fault can come at such a call: a kernel parameter needs no room, and no program ends after a
    rename."""
    name = fault.partition("-on")[0]
    if name in ENDING and what == PROGRAM and LOOKS.search(subject):
        return False
    if name == "kill-after":
        return what == PROGRAM
    if name == "enospc":
        return what in NEEDS_ROOM and not subject.startswith(KERNEL)
    if name == "erofs":  # a file that is open already stays writable
        return what not in (PROGRAM, SIGNAL, "write", "fsync") and not subject.startswith(IN_MEMORY)
    if name == "eio":
        return what != SIGNAL
    return True


class Injector:
    """Counts, and strikes at the point that the plan names: by its number, or the first that has a text."""

    def __init__(self, plan: dict[str, Any], struck: bool) -> None:
        self.fault = str(plan.get("fault", ""))
        self.at = int(plan.get("at", 0))
        self.having = str(plan.get("having", ""))
        self.recording = bool(plan.get("record"))
        self.staying = self.fault.endswith("-on")
        self.room = float(plan.get("room", "inf"))  # so many seconds after it began, it is over
        # Shared with our children: a look at processes is made in one, and its calls count as well.
        self.shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.struck = struck
        self.busy = False

    @property
    def count(self) -> int:
        return int.from_bytes(self.shared[:8], "big")

    @count.setter
    def count(self, count: int) -> None:
        self.shared[:8] = count.to_bytes(8, "big")

    @property
    def struck(self) -> bool:
        return self.shared[8] == 1

    @struck.setter
    def struck(self, struck: bool) -> None:
        self.shared[8] = struck

    def point(self, what: str, subject: str) -> None:
        """A changing call is about to be made."""
        if self.busy:
            return
        self.busy = True  # what we do ourselves is no point
        try:
            self.count += 1
            if self.recording:
                append(POINTS, json.dumps([what, subject]) + "\n")
            if self._now(what, subject) and self.fault != "kill-after":
                self._strike(what, subject)
        finally:
            self.busy = False

    def started(self, subject: str) -> None:
        """A program was started, and runs."""
        if self.fault == "kill-after" and self._now(PROGRAM, subject):
            self.busy = True
            self._strike(PROGRAM, subject)

    def _now(self, what: str, subject: str) -> bool:
        if self.struck:
            return self.staying and fits(self.fault, what, subject) and self._stays()
        return self.count == self.at or bool(self.having and self.having in f"{what} {subject}")

    def _stays(self) -> bool:
        return os.path.exists(PLAN) and time.time() - os.stat(FIRED).st_mtime < self.room

    def _strike(self, what: str, subject: str) -> None:
        if not self.struck:
            append(FIRED, f"{what} {subject}\n")
            self.struck = True
        if self.fault in ENDING:
            if self.fault == "power":  # whatever runs here ends with us; the first process is ended from outside
                os.kill(-1, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        number = NAMES[self.fault.partition("-on")[0]]
        raise OSError(number, os.strerror(number), subject)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """What the interpreter tells of every call; an error that is raised here is the call's own."""
        if self.busy:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and not isinstance(path, int):
                self._path("open", path)
        elif event in CALLS:
            # Of two paths the second one is what there will be.
            self._path(CALLS[event], arguments[1 if event in ("os.rename", "os.symlink", "os.link") else 0])
        elif event == "subprocess.Popen":
            self.point(PROGRAM, words(arguments[1]))
        elif event == "os.kill":
            self.point(SIGNAL, str(arguments[1]))

    def _path(self, what: str, path: Any) -> None:
        if subject := watched(path):
            self.point(what, subject)

    def install(self) -> None:
        """From here on every call is heard of. What the interpreter does not tell of is wrapped."""
        sys.addaudithook(self.heard)
        os.fsync = self._wrapped(os.fsync, "fsync")
        os.write = self._wrapped(os.write, "write")
        os.pwrite = self._wrapped(os.pwrite, "write")
        # os.fdopen looks io.open up, and open() is a builtin: both are the same function.
        opened = self._opening(builtins.open)
        builtins.open = opened
        os.fdopen = self._opening(os.fdopen)
        start = subprocess.Popen._execute_child  # type: ignore[attr-defined]

        def execute(process: Any, args: Any, *rest: Any, **more: Any) -> None:
            start(process, args, *rest, **more)
            self.started(words(args))

        subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]

    def _wrapped(self, call: Callable[..., Any], what: str) -> Callable[..., Any]:
        def wrapper(descriptor: int, *rest: Any) -> Any:
            self._path(what, descriptor)
            return call(descriptor, *rest)

        return wrapper

    def _opening(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """A disk that fills up does so when a file is written, after it was opened well."""

        def wrapper(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
            opened = call(file, mode, *rest, **more)
            if set(mode) & set("wax+") and watched(file):
                write = opened.write

                def counted(data: Any) -> Any:
                    self._path("write", file)
                    return write(data)

                opened.write = counted
            return opened

        return wrapper


def watched(path: Any) -> str:
    """The path, where it is the host's own state; "" for any other. A descriptor's is the one it was opened by."""
    try:
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        found = os.path.abspath(os.fsdecode(path))
    except (OSError, TypeError, ValueError):
        return ""
    return found if (found + "/").startswith(WATCHED) and "__pycache__" not in found else ""


def words(argv: Any) -> str:
    """What is called, but for what another run calls otherwise: so the same call has the same words in each."""
    said = argv if isinstance(argv, str) else " ".join(map(os.fsdecode, argv))
    return OF_THIS_RUN.sub("…", " ".join(said.split()))


def append(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    with open(descriptor, "wb", buffering=0) as file:
        file.write(text.encode())


def plan_for(process: str) -> Injector | None:
    """What this process is to suffer, if anything."""
    try:
        with open(PLAN, encoding="utf-8") as file:
            plan = json.load(file)
    except FileNotFoundError:
        return None
    struck = os.path.exists(FIRED)
    staying = struck and str(plan.get("fault", "")).endswith("-on")
    mine = plan["process"] == process and not struck
    return Injector(plan, struck) if mine or staying else None


def main(arguments: Sequence[str]) -> None:
    sys.executable = PYTHON
    if sys.path[:1] == [FOLDER]:
        del sys.path[0]
    as_module = arguments[0] == "-m"
    name, *rest = arguments[1:] if as_module else arguments
    sys.argv = [name, *rest]
    injector = plan_for(rest[0] if rest else "")
    if injector:
        injector.install()
    if as_module:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(name, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
