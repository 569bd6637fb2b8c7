"""Shots, fired by the account that tries: in a child that has become it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib
import json
import os
import signal
import socket
from typing import Any, Callable, Dict, NoReturn, Sequence

from .shot import Shot, Unprepared, preparing

WAYS = {
    "tcp": "sockets",
    "name": "sockets",
    "question": "sockets",
    "udp": "sockets",
    "ping": "sockets",
    "loopback": "sockets",
    "local": "doors",
    "unix": "doors",
    "bind": "doors",
    "admin": "doors",
    "http": "doors",
    "raw": "crafted",
    "header": "crafted",
    "frame": "wire",
    "io_uring": "ring",
    "xdp": "ring",
}
ABSENT = {errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.ESOCKTNOSUPPORT, errno.ENOPROTOOPT, errno.ENOSYS}
ABSENT |= {errno.EOPNOTSUPP, errno.ENODEV, errno.ENOENT}
"""What a kernel says of a way that it does not have."""
CLONE_NEWUSER = 0x10000000
ANSWERED = 60.0
"""Seconds for one shot: the slowest way takes some ten."""

Answer = Dict[str, Any]


def fire(shot: Shot) -> Dict[str, Any]:
    """{"works": it was answered} or {"refused": the error's name, "absent": the kernel has no such
    way, "unprepared": it came to no sending}."""
    try:
        way = getattr(importlib.import_module("." + WAYS[shot.way], __package__), shot.way)
        return {"works": False, **(contained(shot, way) if shot.options.get("contained") else way(shot))}
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error))
        unprepared = isinstance(error, Unprepared)
        return {"works": False, "refused": name, "absent": error.errno in ABSENT, "unprepared": unprepared}
    except Exception as error:  # a mistake of ours in one way must not hide the others
        return {"works": False, "refused": "{}: {}".format(type(error).__name__, error), "absent": False}


def contained(shot: Shot, way: Callable[[Shot], Answer]) -> Answer:
    """What root of a container gets that has the host's network: it is root there, and here the account that it was."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        code = unprepared = 0
        try:
            with preparing():
                if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) != 0:
                    raise OSError(ctypes.get_errno(), "")
            way(shot)
        except OSError as error:
            code, unprepared = error.errno or errno.EIO, isinstance(error, Unprepared)
        finally:
            theirs.sendall(bytes([code, unprepared]))
            os._exit(0)
    theirs.close()
    with ours:
        code, unprepared = ours.recv(2) or (errno.EIO, 0)
    os.waitpid(child, 0)
    if code:
        raise (Unprepared if unprepared else OSError)(code, "")
    return {"works": True}


class Shooter:
    """A child that has become an account, and fires what it is told. `groups`: its own, the first one first."""

    def __init__(self, uid: int, groups: Sequence[int] = ()) -> None:
        for module in set(WAYS.values()):  # another account may not read where Python is
            importlib.import_module("." + module, __package__)
        ours, theirs = socket.socketpair()
        self._child = os.fork()
        if self._child == 0:
            ours.close()
            _become_and_serve(uid, groups, theirs)
        theirs.close()
        ours.settimeout(ANSWERED)  # the account may stop it: by then it is the account's own
        self._line = ours.makefile("rw", encoding="utf-8")
        ours.close()

    def fire(self, shot: Shot) -> Dict[str, Any]:
        try:
            print(json.dumps(shot.plain()), file=self._line, flush=True)
            said = self._line.readline()
        except OSError:  # it is gone, or its time is over
            said = ""
        none = {"works": False, "refused": "no process can become this account, or it did not answer"}
        answer: Dict[str, Any] = json.loads(said) if said else none
        return answer

    def end(self) -> None:
        # It would wait for the end of its line, which the children after it hold open.
        os.kill(self._child, signal.SIGKILL)
        with contextlib.suppress(ConnectionError):  # what nobody read is still to be written
            self._line.close()
        os.waitpid(self._child, 0)


def _become_and_serve(uid: int, groups: Sequence[int], line: socket.socket) -> NoReturn:
    try:
        if uid:
            with contextlib.suppress(OSError):
                os.setgroups(groups)  # refused where only our own account is mapped
            first = groups[0] if groups else uid
            os.setresgid(first, first, first)
            os.setresuid(uid, uid, uid)
        for text in line.makefile("r", encoding="utf-8"):
            line.sendall(json.dumps(fire(Shot(**json.loads(text)))).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        pass  # nobody listens any more
    finally:
        os._exit(0)
