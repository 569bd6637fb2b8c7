"""What is missing on a machine before lab hosts can run there, and how a command that failed is told."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.patience import answer

PACKAGE_OF = {
    "podman": "podman",
    "runc": "runc",
    "debootstrap": "debootstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "tar": "tar",
}
PACKAGE_OF_MACHINES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "debootstrap": "debootstrap",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}


class LabError(Exception):
    """The lab could not do what was asked."""


class LabUnavailable(LabError):
    """This machine cannot run lab hosts; the message says what to do about it."""


def whats_missing(package_of: Mapping[str, str] = PACKAGE_OF) -> str | None:
    """Say in one sentence why there can be no lab here; None when there can."""
    if os.geteuid() != 0:
        return "lab hosts need root (network namespaces, debootstrap): run the tests with sudo"
    absent = [program for program in package_of if not shutil.which(program)]
    if absent:
        packages = " ".join(sorted({package_of[program] for program in absent}))
        return f"lab hosts need {', '.join(absent)}: apt-get install {packages}"
    return None


def call(
    argv: Sequence[str],
    *,
    check: bool = True,
    input: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = 600,
) -> subprocess.CompletedProcess[str]:
    """Run a program and keep its output. A failure names the command and shows what it printed.

    `timeout`: seconds of an idle machine, after which it is ended and subprocess.TimeoutExpired raised.
    """
    # A file, since subprocess sends nothing more down a pipe once a wait for the answer was cut short (Python 3.11).
    with tempfile.TemporaryFile() as given:
        given.write((input or "").encode())
        given.seek(0)
        with subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL if input is None else given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env={**os.environ, **env} if env else None,
            cwd=cwd,
        ) as process:
            try:
                out, err = answer(process, seconds=timeout)
            except BaseException:
                process.kill()
                raise
    done = subprocess.CompletedProcess(list(argv), process.returncode, out, err)
    return checked(done) if check else done


def checked(done: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """What has ended well; else LabError."""
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise LabError(f"{' '.join(done.args)}\nended with {done.returncode}: {said}")
    return done


@contextlib.contextmanager
def silent(process: subprocess.Popen[Any]) -> Iterator[None]:
    """It is there, and says nothing."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)
