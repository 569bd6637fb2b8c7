"""Calling the host's own programs, and nothing through a shell."""

from __future__ import annotations

import contextlib
import os
import re
import select
import selectors
import shutil
import signal
import subprocess
import time
from typing import Dict, Iterator, List, Optional, Tuple

from .resource import HostError, legible

# sudo and cron hand down a PATH without sbin, where every program of netfilter lives.
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The caller's own PATH comes last: it finds what a distribution keeps elsewhere, and shadows nothing.
PATH = "{}:{}".format(SYSTEM, os.environ.get("PATH", ""))

PYTHONS = ("python3", "/usr/libexec/platform-python")
"""The second is RHEL 8's own, which is on no PATH."""
MOST = 256 * 1024**2
"""Bytes that a program may say: two million entries of ipset's are half of that, and there is no end to `yes`."""


def find(name: str) -> Optional[str]:
    return shutil.which(name, path=PATH)


def environment() -> Dict[str, str]:
    """A C locale, and UTC: what we read must not be translated."""
    return dict(os.environ, PATH=PATH, LC_ALL="C", TZ="UTC")


held: List[int] = []
"""Descriptors that every program of ours gets: the lock of whoever changes this host, which is free once all of them
ended."""

_looks: List[Dict[Tuple[str, ...], "subprocess.CompletedProcess[str]"]] = []


@contextlib.contextmanager
def each_once() -> Iterator[None]:
    """While this is open, the same command runs once and its output is reused: for reading, never for writing."""
    _looks.append({})
    try:
        yield
    finally:
        _looks.pop()


def run(
    argv: List[str], text: str = "", check: bool = True, timeout: float = 120, ours: bool = True
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end and return what it said.

    Bytes that are not UTF-8 (a comment of another tool's) are surrogates in what it said, and the same bytes again in
    `text`: what is written back is what was there. Its errors are words, and have escapes for them. `ours`: whether it
    stays of our account. Another one's could hand our lock to a process that keeps it (pidfd_getfd(2)).
    Raises HostError with the program's own words where it is missing, fails (with `check`), hangs for `timeout`
    seconds or says more than anybody would read.
    """
    program = find(argv[0])
    if program is None:
        raise HostError("{} is not installed on this host".format(argv[0]))
    answers = _looks[-1] if _looks and not text else {}
    done = answers.get(tuple(argv)) or _ask(program, argv, text, timeout, ours)
    answers[tuple(argv)] = done
    if check and done.returncode != 0:
        said = legible(done.stderr or done.stdout).strip()
        if os.geteuid() != 0 and any(word in said for word in ("permitted", "denied", "root")):
            raise HostError("`{}` needs root".format(" ".join(argv)))
        raise HostError("`{}` failed with exit code {}: {}".format(" ".join(argv), done.returncode, said))
    return done


def _ask(program: str, argv: List[str], text: str, timeout: float, ours: bool) -> "subprocess.CompletedProcess[str]":
    end, named, pipe = time.monotonic() + timeout, " ".join(argv), subprocess.PIPE
    left = memoryview(text.encode("utf-8", "surrogateescape"))
    out, errors = bytearray(), bytearray()
    with subprocess.Popen(
        argv,
        executable=program,
        stdin=pipe if left else subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        env=environment(),
        pass_fds=held if ours else (),
        # A session of its own: a Ctrl-C is for us, who know what to finish, and what hangs is ended with its children.
        start_new_session=True,
    ) as child, selectors.DefaultSelector() as waiting:
        for stream, event, heard in (
            (child.stdin, selectors.EVENT_WRITE, None),
            (child.stdout, selectors.EVENT_READ, out),
            (child.stderr, selectors.EVENT_READ, errors),
        ):
            if stream:
                waiting.register(stream, event, heard)
        try:
            while waiting.get_map():
                ready = waiting.select(max(0.0, end - time.monotonic()))
                if not ready:
                    raise subprocess.TimeoutExpired(argv, timeout)
                for key, _ in ready:
                    if key.data is not None:
                        part = os.read(key.fd, 1 << 16)
                        key.data.extend(part)
                        ended = not part
                    else:
                        left = left[_told(key.fd, left) :]
                        ended = not left
                    if ended:
                        waiting.unregister(key.fileobj)
                    if ended and child.stdin and key.data is None:
                        child.stdin.close()
                if len(out) + len(errors) > MOST:
                    raise HostError("`{}` says more than {} MiB, and was ended".format(named, MOST >> 20))
            child.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            _end(child)
            raise HostError("`{}` did not end within {:.0f} s".format(named, timeout)) from None
        except BaseException:
            _end(child)
            raise
    return subprocess.CompletedProcess(
        argv, child.returncode, out.decode("utf-8", "surrogateescape"), errors.decode("utf-8", "backslashreplace")
    )


def _end(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def _told(pipe: int, text: memoryview) -> int:
    try:
        return os.write(pipe, text[: select.PIPE_BUF])
    except BrokenPipeError:
        return len(text)  # it reads no more: its exit code says what it made of that


def lines_of(text: str) -> Iterator[str]:
    """The lines that iptables and ipset print, where a comment in quotes may hold any byte, those of a line's end too.

    Raises HostError where such a comment does not end.
    """
    begun = ""
    for line in text.split("\n"):
        whole = begun + line
        if '"' in whole and re.sub(r"(?s)\\.", "", whole).count('"') % 2:
            begun = whole + "\n"
            continue
        begun = ""
        yield whole
    if begun:
        raise HostError("what it says ends within a comment: {!r}".format(begun[:80]))
