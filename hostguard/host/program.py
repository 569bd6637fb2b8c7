"""Calling the host's own programs, and nothing through a shell."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Dict, List, Optional

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
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            env=environment(),
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise HostError("`{}` did not end within {:.0f} s".format(" ".join(argv), timeout)) from None
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        if os.geteuid() != 0 and any(word in said for word in ("permitted", "denied", "root")):
            raise HostError("`{}` needs root".format(" ".join(argv)))
        raise HostError("`{}` failed with exit code {}: {}".format(" ".join(argv), done.returncode, said))
    return done
