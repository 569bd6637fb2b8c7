"""A virtual machine that outlives the command which starts it, for who comes back to it over SSH.

A process of its own keeps it, until it is told to end (`python -m tests.lab down NAME`) or its owner is gone.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

from tests.lab.debian import REPOSITORY
from tests.lab.lab import is_alive
from tests.lab.machine import END_SECONDS, MACHINES, Machine, note_panic, sweep
from tests.lab.process import LabError
from tests.patience import Patience

LOOK_SECONDS = 1


def start(owner: str, name: str) -> str:
    """Return when it has booted, with where it listens, as JSON."""
    if names(owner, name):
        raise LabError(f"{name} is up already")
    with subprocess.Popen(
        [sys.executable, "-m", "tests.lab.kept", owner, name],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a signal to our terminal is not meant for it
    ) as keeper:
        assert keeper.stdout is not None
        assert keeper.stderr is not None
        try:
            where, trouble = keeper.stdout.read(), keeper.stderr.read()  # it lets go of both once it has booted
        except BaseException:
            keeper.terminate()
            raise
        if not where:
            raise LabError(trouble.strip())
        keeper.returncode = 0  # it runs on: nothing to wait for
    return where


def end(owner: str, name: str = "*") -> bool:
    """Switch off those of an owner that have this name; tell whether there were any."""
    folders = _folders(owner, name)
    for folder in folders:
        note_panic(folder)
        os.kill(int(folder.name.partition(".")[0]), signal.SIGTERM)
        patience = Patience(END_SECONDS)
        while folder.exists():
            if not patience.left():
                raise LabError(f"{folder} is still there after {END_SECONDS} s: its process does not end")
            time.sleep(0.05)
    return bool(folders)


def names(owner: str, name: str = "*") -> list[str]:
    return sorted(folder.name.split("-", 2)[2] for folder in _folders(owner, name))


def _folders(owner: str, name: str) -> list[Path]:
    """Those whose keeper lives: the folder's name begins with it."""
    sweep()
    return list(MACHINES.glob(f"*.*-{owner}-{name}"))


def _keep(owner: str, name: str) -> None:
    def leave(*_: object) -> NoReturn:
        # Nothing may come between when everything is taken down.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit()

    def look(*_: object) -> None:
        if not is_alive(owner):
            leave()

    signal.signal(signal.SIGTERM, leave)
    # By a timer, since an owner may die while this waits for the boot.
    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    with Machine(f"{owner}-{name}") as machine:
        where = {"address": "127.0.0.1", "port": machine.port, "user": "root", "identity_file": str(machine.disk.key)}
        print(json.dumps(where), flush=True)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for ours in (sys.stdout, sys.stderr):
            os.dup2(nowhere, ours.fileno())
        while True:
            signal.pause()


if __name__ == "__main__":
    try:
        _keep(*sys.argv[1:])
    except LabError as error:
        sys.exit(str(error))
