"""Calls in children of our own: as another account, and where another account could keep us waiting."""

from __future__ import annotations

import contextlib
import functools
import json
import mmap
import os
import pwd
import select
import signal
import struct
import time
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional

from . import proc, program
from .resource import HostError, NotRoot, why

LONGEST = 1 << 20
"""Bytes that one of them may answer."""
ENDING = 1.0
"""Seconds in which a child ends that has answered, or was killed. The kernel lets one wait on for a file system that
answers nothing."""


class Call(NamedTuple):
    """What is called, with one argument, and by which account; None: by ours. It returns plain JSON."""

    account: Optional[str]
    function: Callable[[Any], Any]
    argument: Any


def together(calls: List[Call], seconds: float, longest: int = LONGEST) -> List[Dict[str, Any]]:
    """{"said": …} or {"unreadable": why}, in their order. None is waited for any longer than so many seconds."""
    waiting: Dict[int, "_Child"] = {}
    found: List[Dict[str, Any]] = [{"unreadable": LATE.format(seconds)} for _ in calls]
    end = time.monotonic() + seconds
    try:
        for at, call in enumerate(calls):
            try:
                child = _Child(at, call)
                waiting[child.pipe] = child
            except (HostError, OSError) as error:
                found[at] = {"unreadable": why(error, call.account or "a child")}
        while waiting:
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, end - time.monotonic()))
            if not ready:
                break
            for pipe in ready:
                child = waiting[pipe]
                if not child.hear(longest):
                    found[child.at] = child.answer()
                    del waiting[pipe]
                    child.end(answered=True)
    finally:
        for child in waiting.values():
            child.end(answered=False)
    return found


LATE = "it did not end within {:.0f} s"
LOOKING, AGAIN = 20.0, 3.0
"""Seconds for a look at all processes: ten thousand of them, with a million files open, take half of it. And for each
later one where somebody kept the first waiting: an audit makes some ten, and has its own end."""
AT_ONCE = 50
MOST = 64 << 20
"""Bytes that a look may find, which is what a host may answer."""
_kept_waiting = False


def aside(look: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The same look at processes, made in a child. It raises HostError where it takes too long.

    The kernel keeps whoever reads fd, exe, maps, environ, ns or stat of a process waiting while that one calls
    execve(), which may wait without end for a file system of the caller's own (Linux 6.18, exec_update_lock): only who
    is killed goes on. So no account can keep an apply, its way back, or an audit waiting.
    """

    @functools.wraps(look)
    def looked(argument: Any) -> Any:
        (found,) = each_aside(look, [argument])
        if "unreadable" in found:
            raise HostError(found["unreadable"])
        return found["said"]

    return looked


def each_aside(look: Callable[[Any], Any], arguments: List[Any]) -> List[Dict[str, Any]]:
    """The same of several, each in a child: {"said": …} or {"unreadable": why}."""
    found: List[Dict[str, Any]] = []
    for begin in range(0, len(arguments), AT_ONCE):
        found += _some_aside(look, arguments[begin : begin + AT_ONCE])
    return found


def _some_aside(look: Callable[[Any], Any], arguments: List[Any]) -> List[Dict[str, Any]]:
    global _kept_waiting  # noqa: PLW0603 - what one look has found is known to the next
    places = [mmap.mmap(-1, mmap.PAGESIZE) for _ in arguments]
    seconds = AGAIN if _kept_waiting else LOOKING

    def noted(at: int) -> Any:
        proc.note_in(places[at])
        return look(arguments[at])

    found = together([Call(None, noted, at) for at in range(len(arguments))], seconds, MOST)
    for each, place in zip(found, places):
        pid = struct.unpack_from("=I", place)[0]
        if each.get("unreadable") == LATE.format(seconds):
            _kept_waiting = True
            if pid:
                said = "process {} ({}) kept us waiting for {:.0f} s: see what it is, and end it"
                each["unreadable"] = said.format(pid, proc.command(pid), seconds)
        place.close()
    return found


class _Child:
    def __init__(self, at: int, call: Call) -> None:
        who = _entry(call.account)
        self.at, self.said = at, bytearray()
        self.silent = "it ended before its answer" if who is None else "no process can become this account, or it ended"
        self.pipe, out = os.pipe()
        try:
            self.pid = os.fork()
        except OSError:
            os.close(self.pipe)
            os.close(out)
            raise
        if self.pid == 0:
            _become_and_call(who, call, out)
        os.close(out)

    def hear(self, longest: int) -> bool:
        """Whether there may be more to hear."""
        part = os.read(self.pipe, 1 << 16)
        self.said += part
        return bool(part) and len(self.said) <= longest

    def answer(self) -> Dict[str, Any]:
        try:
            found: Dict[str, Any] = json.loads(self.said.decode("utf-8"))
        except ValueError:
            return {"unreadable": self.silent}
        return found

    def end(self, answered: bool) -> None:
        os.close(self.pipe)
        if not (answered and self._ends()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            self._ends()

    def _ends(self) -> bool:
        end = time.monotonic() + ENDING
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > end:
                    return False
                time.sleep(0.001)
        return True


def _entry(account: Optional[str]) -> Optional[pwd.struct_passwd]:
    """The account to become; None where we are it. Raises HostError where there is none, or only root may."""
    if account is None:
        return None
    try:
        who = pwd.getpwnam(account)
    except KeyError:
        raise HostError("there is no account {} on this host".format(account)) from None
    if who.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise NotRoot("only root can ask as {}".format(account))
    return who


def _become_and_call(who: Optional[pwd.struct_passwd], call: Call, out: int) -> NoReturn:
    try:
        while program.held:  # it changes nothing, and another account must not get at the lock and keep it
            os.close(program.held.pop())
        if who is not None:
            with contextlib.suppress(OSError):
                os.setgroups(os.getgrouplist(who.pw_name, who.pw_gid))  # refused where only our own account is mapped
            os.setresgid(who.pw_gid, who.pw_gid, who.pw_gid)
            os.setresuid(who.pw_uid, who.pw_uid, who.pw_uid)
        try:
            answer: Dict[str, Any] = {"said": call.function(call.argument)}
        except Exception as error:  # it is told, whatever it is
            answer = {"unreadable": why(error, "it")}
        with os.fdopen(out, "wb") as pipe:
            pipe.write(json.dumps(answer).encode("ascii"))
    finally:
        os._exit(0)
