"""Calls that another account makes: in children that have become it, all at once."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import select
import signal
import time
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional

from .resource import HostError, NotRoot, why

LONGEST = 1 << 20
"""Bytes that one of them may answer."""


class Call(NamedTuple):
    """What is called, with one argument, and by which account; None: by ours. It returns plain JSON."""

    account: Optional[str]
    function: Callable[[Any], Any]
    argument: Any


def together(calls: List[Call], seconds: float) -> List[Dict[str, Any]]:
    """{"said": …} or {"unreadable": why}, in their order. None is waited for any longer than so many seconds."""
    waiting: Dict[int, "_Child"] = {}
    found: List[Dict[str, Any]] = [{"unreadable": "it did not end within {:.0f} s".format(seconds)} for _ in calls]
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
                if not child.hear():
                    found[child.at] = child.answer()
                    del waiting[pipe]
                    child.end()
    finally:
        for child in waiting.values():
            child.end()
    return found


class _Child:
    def __init__(self, at: int, call: Call) -> None:
        who = _entry(call.account)
        self.at, self.said = at, bytearray()
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

    def hear(self) -> bool:
        """Whether there may be more to hear."""
        part = os.read(self.pipe, 1 << 16)
        self.said += part
        return bool(part) and len(self.said) <= LONGEST

    def answer(self) -> Dict[str, Any]:
        try:
            found: Dict[str, Any] = json.loads(self.said.decode("utf-8"))
        except ValueError:
            return {"unreadable": "no process can become this account, or it ended before its answer"}
        return found

    def end(self) -> None:
        os.close(self.pipe)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


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
