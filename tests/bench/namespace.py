"""A module of the bench run in a network and a mount namespace of its own, which end with it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import Any

from tests.bench.figure import Unmeasured

PROGRAMS = {"unshare": "util-linux", "iptables": "iptables", "ipset": "ipset", "ip": "iproute2"}


def alone(module: str, *arguments: str, root: bool = True, aloud: bool = False, leaves: bool = False) -> Any:
    """What `python -m MODULE` prints in there, as JSON. `root` False: for who is not root it is one in there. `leaves`:
    it has processes that outlive who started them, and so a namespace of its own for them too."""
    if root and os.geteuid() != 0:
        raise Unmeasured("it needs root, to make namespaces: run it with sudo")
    absent = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if absent:
        raise Unmeasured(f"not installed: apt install {' '.join(absent)}")
    become = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    processes = ["--pid", "--mount-proc"] if leaves else []
    fence = ["unshare", *become, "--net", "--mount", *processes, "--fork", "--kill-child", "--"]
    command = [*fence, sys.executable, "-m", module, *arguments]
    # What is said on the way goes to the terminal of who waits for minutes.
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=None if aloud else subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise Unmeasured(((done.stderr or "").strip() or f"it ended with {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout)
