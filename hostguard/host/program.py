"""Calling the host's own programs, and nothing through a shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from typing import Dict, Iterator, List, Optional, Tuple

from .resource import HostError

# sudo and cron hand down a PATH without sbin, where every program of netfilter lives.
SYSTEM = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# The caller's own PATH comes last: it finds what a distribution keeps elsewhere, and shadows nothing.
PATH = "{}:{}".format(SYSTEM, os.environ.get("PATH", ""))


def find(name: str) -> Optional[str]:
    return shutil.which(name, path=PATH)


def environment() -> Dict[str, str]:
    """A C locale, and UTC: what we read must not be translated."""
    return dict(os.environ, PATH=PATH, LC_ALL="C", TZ="UTC")


held: List[int] = []
"""Descriptors that every program gets: the lock of whoever changes this host, which is free once all of them ended."""

_looks: List[Dict[Tuple[str, ...], "subprocess.CompletedProcess[str]"]] = []


@contextlib.contextmanager
def each_once() -> Iterator[None]:
    """Within, who asks a program what it was asked already is told what it said: for who looks, and writes nothing."""
    _looks.append({})
    try:
        yield
    finally:
        _looks.pop()


def run(
    argv: List[str], text: str = "", check: bool = True, timeout: float = 120
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end and return what it said.

    Raises HostError with the program's own words where it is missing, fails (with `check`) or hangs for
    `timeout` seconds.
    """
    program = find(argv[0])
    if program is None:
        raise HostError("{} is not installed on this host".format(argv[0]))
    answers = _looks[-1] if _looks and not text else {}
    done = answers.get(tuple(argv)) or _run(program, argv, text, timeout)
    answers[tuple(argv)] = done
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        if os.geteuid() != 0 and any(word in said for word in ("permitted", "denied", "root")):
            raise HostError("`{}` needs root".format(" ".join(argv)))
        raise HostError("`{}` failed with exit code {}: {}".format(" ".join(argv), done.returncode, said))
    return done


def _run(program: str, argv: List[str], text: str, timeout: float) -> "subprocess.CompletedProcess[str]":
    pipe = subprocess.PIPE
    # A session of its own: a Ctrl-C is for us, who then know what to finish, and what hangs is ended with its children.
    with subprocess.Popen(
        argv,
        executable=program,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        universal_newlines=True,
        env=environment(),
        pass_fds=held,
        start_new_session=True,
    ) as running:
        try:
            said, trouble = running.communicate(text, timeout)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise HostError("`{}` did not end within {:.0f} s".format(" ".join(argv), timeout)) from None
            raise
        return subprocess.CompletedProcess(argv, running.returncode, said, trouble)
