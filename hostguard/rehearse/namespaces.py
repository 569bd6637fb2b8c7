"""A child in user, network, mount and process namespaces of its own, that dies with us."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
PR_SET_PDEATHSIG = 1
ACCOUNTS = 65536
"""How many accounts a full map has: as many as Debian's and Fedora's useradd give each user in /etc/subuid."""

_libc = ctypes.CDLL(None, use_errno=True)


class Forbidden(Exception):
    """This machine does not let us make namespaces. The text says why, and what to do."""


def unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent() -> None:
    """The kernel kills us when our parent ends, however it ends. Undone by a change of account: call it after."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def perform(play: Callable[[bool, Callable[[dict[str, Any]], None]], None]) -> Iterator[dict[str, Any]]:
    """Run `play(all_accounts, tell)` inside new namespaces, and yield what it tells, as it tells it.

    `all_accounts` is false where only our own account could be mapped into the namespace. Raises Forbidden where
    the machine refuses. Nothing outlives the iteration: the first process of a process namespace takes all
    others with it, and it dies with us.
    """
    ready_read, ready_write = os.pipe()
    mapped_read, mapped_write = os.pipe()
    told_read, told_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ready_read)
        os.close(mapped_write)
        os.close(told_read)
        _become_first(ready_write, mapped_read, told_write, play)
    os.close(ready_write)
    os.close(mapped_read)
    os.close(told_write)
    try:
        with os.fdopen(ready_read, encoding="utf-8") as ready:
            refused = ready.read()
        if refused:
            raise Forbidden(why_forbidden(refused))
        os.write(mapped_write, b"1" if _map_accounts(child) else b"0")
        with os.fdopen(told_read, encoding="utf-8") as told:
            for line in told:
                yield json.loads(line)
    finally:
        os.close(mapped_write)
        # However the iteration ended: the namespaces end now.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _become_first(ready: int, mapped: int, told: int, play: Callable[..., None]) -> NoReturn:
    """In the child: make the namespaces, wait for the map, and run the play as their first process."""
    try:
        die_with_parent()
        unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
    except OSError as error:
        os.write(ready, str(error.strerror).encode())
        os._exit(1)
    os.close(ready)
    answer = os.read(mapped, 1)
    if not answer:
        os._exit(1)
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    die_with_parent()
    first = os.fork()
    if first:
        os.close(told)
        _, status = os.waitpid(first, 0)
        os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    die_with_parent()
    # If our parent was killed before that line, the pipe has no reader any more, and telling ends us.
    with os.fdopen(told, "w", encoding="utf-8", buffering=1) as out:
        try:
            play(answer == b"1", lambda message: print(json.dumps(message), file=out, flush=True))
        except BrokenPipeError:
            os._exit(1)
        except Exception as error:
            where = traceback.extract_tb(sys.exc_info()[2])[-1]
            said = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
            print(json.dumps({"error": said}), file=out, flush=True)
            os._exit(1)
    os._exit(0)


def _map_accounts(child: int) -> bool:
    """Map accounts into the child's namespace: all of ours that we may, else our own alone."""
    if os.geteuid() == 0:
        for kind in ("uid", "gid"):
            Path(f"/proc/{child}/{kind}_map").write_text(f"0 0 {ACCOUNTS}\n", encoding="ascii")
        return True
    if _map_subordinate(child):
        return True
    Path(f"/proc/{child}/setgroups").write_text("deny", encoding="ascii")
    Path(f"/proc/{child}/uid_map").write_text(f"0 {os.geteuid()} 1\n", encoding="ascii")
    Path(f"/proc/{child}/gid_map").write_text(f"0 {os.getegid()} 1\n", encoding="ascii")
    return False


def _map_subordinate(child: int) -> bool:
    """With newuidmap(1), over the ranges that /etc/subuid gives to this user."""
    ours = {"uid": os.geteuid(), "gid": os.getegid()}
    ranges = {kind: _subordinate(f"/etc/sub{kind}") for kind in ours}
    if not all(ranges.values()) or not all(shutil.which(f"new{kind}map") for kind in ours):
        return False
    for kind, own in ours.items():
        first, count = ranges[kind] or (0, 0)
        call = [f"new{kind}map", str(child), "0", str(own), "1", "1", str(first), str(min(count, ACCOUNTS - 1))]
        if subprocess.run(call, capture_output=True, check=False).returncode != 0:
            return False
    return True


def _subordinate(file: str) -> tuple[int, int] | None:
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except (OSError, KeyError):
        return None
    for line in lines:
        owner, _, numbers = line.partition(":")
        if owner in (name, str(os.geteuid())):
            first, _, count = numbers.partition(":")
            return int(first), int(count)
    return None


def why_forbidden(refused: str) -> str:
    """What stands in the way of unprivileged namespaces on this machine, and who can change it."""
    switches = (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    )
    for path, value, mend in switches:
        try:
            if Path(path).read_text(encoding="ascii").strip() == value:
                return (
                    f"this machine forbids namespaces to ordinary users ({refused}): ask its administrator for "
                    f"`sysctl {mend}`, or rehearse as root"
                )
        except OSError:
            continue
    hint = "in a container, give it CAP_SYS_ADMIN or rehearse outside of it; else rehearse as root"
    return f"namespaces can't be made here ({refused}): {hint}"
