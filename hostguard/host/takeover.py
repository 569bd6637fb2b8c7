"""What systemd runs to start the gateway's Envoy, and to have a new one take over from the one that runs.

Envoy does not tell systemd when it is ready, and its own hot restart ends with the process that began it. So the new
one is started beside the old one: both have the ports (SO_REUSEPORT), and the new one takes the paths of the sockets
over. Once it is ready it is the service's main process, the old one is drained, and then ended. Where it does not
become ready it is ended, and the old one gets its paths back. Whatever an earlier takeover that was cut short has left
running is ended too.

Envoy takes the path of a socket away, binds it, and listens there a moment later. So it binds `.NAME.sock`, and once it
listens `NAME.sock`, where applications connect, is renamed to be the same socket.

It stands on a host as a file of its own, and so imports nothing of ours.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import hashlib
import http.client
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from typing import Callable, List, Optional

READY, ENDED, PAUSE = 30.0, 5.0, 0.02
"""Seconds that a new Envoy has to become ready, that one has to end, and between two looks."""
KEPT, NEW = ".kept", ".new"
CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): pid, uid, gid


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser()
    for name in ("program", "sha256", "bootstrap", "admin", "pid-file", "drain", "workers"):
        parser.add_argument("--" + name, required=name != "sha256")
    given = parser.parse_args(arguments)
    if given.sha256 and _sha256(given.program) != given.sha256:
        return _fail("{} is not the file that the policy's gateway.sha256 names".format(given.program))
    before = running(given.bootstrap)
    old = _connect(given.admin)
    folder = os.path.dirname(os.path.dirname(given.admin))
    kept = _keep(folder)
    started = options(given.bootstrap, given.workers, given.drain)
    new = subprocess.Popen([given.program, *started], stdin=subprocess.DEVNULL)
    if not _within(READY, lambda: new.poll() is not None or _is_ready(given.admin, new.pid)) or new.poll() is not None:
        code = new.poll()
        new.kill()
        for path in kept:
            os.rename(path + KEPT, path)
            with contextlib.suppress(FileNotFoundError):  # rename(2) leaves two names of one file alone
                os.unlink(path + KEPT)
        how = "did not become ready in {:.0f} s".format(READY) if code is None else "ended with code {}".format(code)
        return _fail("{} {}{}".format(given.program, how, ": the one before it goes on" if before else ""))
    publish(folder)
    with open(given.pid_file + ".new", "w", encoding="ascii") as file:
        file.write("{}\n".format(new.pid))
    os.rename(given.pid_file + ".new", given.pid_file)
    for path in kept:
        os.unlink(path + KEPT)
    if before:
        _end(before, given.bootstrap, old, float(given.drain))
    return 0


def options(bootstrap: str, workers: str, drain: str) -> List[str]:
    found = ["-c", bootstrap, "--disable-hot-restart", "--reject-unknown-dynamic-fields"]
    found += ["--concurrency", workers, "--drain-time-s", drain, "--log-level", "warning"]
    # Else, in a drain of 1 s, nobody is asked to close his connection before it is cut.
    found += ["--drain-strategy", "immediate"]
    # Else a log is 10 s behind: a watch is to show what fails now.
    return [*found, "--file-flush-interval-msec", "1000"]


def _fail(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for part in iter(lambda: file.read(1 << 20), b""):
            digest.update(part)
    return digest.hexdigest()


def running(bootstrap: str) -> List[int]:
    """This account's processes that were started with this bootstrap."""
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):  # it ended while we looked
            if name.isdecimal() and os.stat("/proc/" + name).st_uid == os.getuid():
                with open("/proc/{}/cmdline".format(name), encoding="utf-8", errors="replace", newline="\n") as file:
                    words = file.read().split("\0")
                if ("-c", bootstrap) in zip(words, words[1:]):
                    found.append(int(name))
    return found


def _connect(admin: str) -> Optional[http.client.HTTPConnection]:
    """To the Envoy that has this path now: the connection stays its own when another one takes the path over."""
    found = socket.socket(socket.AF_UNIX)
    found.settimeout(ENDED)
    try:
        found.connect(admin)
    except OSError:
        found.close()
        return None
    connection = http.client.HTTPConnection("admin")
    connection.sock = found
    return connection


def _is_ready(admin: str, pid: int) -> bool:
    """Until the new one has taken the path over, the old one answers there."""
    connection = _connect(admin)
    if connection is None:
        return False
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        peer = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        if CREDENTIALS.unpack(peer)[0] == pid:
            connection.request("GET", "/ready")
            return connection.getresponse().status == http.client.OK
    return False


def _keep(folder: str) -> List[str]:
    """A second name for each socket, to give its path back by."""
    paths = _sockets(folder, "*.sock") + _sockets(folder, ".*.sock")
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # of a takeover that was cut short
            os.unlink(path + KEPT)
        os.link(path, path + KEPT)
    return paths


def publish(folder: str) -> None:
    """Show each socket that Envoy has bound."""
    for path in _sockets(folder, ".*.sock"):
        show(path)


def show(path: str) -> None:
    """Give the socket `.NAME.sock` the name without the dot too, with no moment in which nobody has that name.

    Root does it as well, in a folder of an account: no link in it is followed. Raises FileNotFoundError where there is
    no such socket."""
    folder, bound = os.path.split(path)
    beside = bound + NEW
    within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=within)
        os.link(bound, beside, src_dir_fd=within, dst_dir_fd=within, follow_symlinks=False)
        os.rename(beside, bound[1:], src_dir_fd=within, dst_dir_fd=within)
        with contextlib.suppress(FileNotFoundError):  # rename(2) leaves two names of one file alone
            os.unlink(beside, dir_fd=within)
    finally:
        os.close(within)


def _sockets(folder: str, name: str) -> List[str]:
    """Ours: the kernel links no file of another account (fs.protected_hardlinks), and such a one is not in our way."""
    mine = os.geteuid()
    found = glob.glob(os.path.join(glob.escape(folder), "*", name))
    return [path for path in found if not mine or os.lstat(path).st_uid == mine]


def _end(before: List[int], bootstrap: str, old: Optional[http.client.HTTPConnection], drain: float) -> None:
    if old is not None:
        # One that says no is ended all the same: it would go on with the old configuration.
        with contextlib.suppress(OSError, http.client.HTTPException):
            old.request("POST", "/drain_listeners?graceful")
            old.getresponse().read()
            time.sleep(drain + 0.5)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in before:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if _within(ENDED, lambda: not set(before) & set(running(bootstrap))):
            return


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(PAUSE)
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
