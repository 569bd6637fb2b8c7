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


def alone(module: str) -> Any:
    """What `python -m MODULE` prints in there, as JSON."""
    if os.geteuid() != 0:
        raise Unmeasured("it needs root, to make namespaces: run it with sudo")
    absent = [package for program, package in PROGRAMS.items() if not shutil.which(program)]
    if absent:
        raise Unmeasured(f"not installed: apt install {' '.join(absent)}")
    fence = ["unshare", "--net", "--mount", "--fork", "--kill-child", "--"]
    done = subprocess.run([*fence, sys.executable, "-m", module], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unmeasured((done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1])
    return json.loads(done.stdout)
