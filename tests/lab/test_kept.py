"""A machine that is kept goes when it must, at whatever point of its boot that is."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import disk, kept
from tests.lab.debian import REPOSITORY
from tests.lab.lab import process
from tests.lab.machine import MACHINES
from tests.patience import ended, until

pytestmark = pytest.mark.needs("machine")


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "infinity"]) as sleeper:
        yield sleeper
        sleeper.kill()


def running() -> Iterator[str]:
    """The command line of everything that runs here."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace")


@pytest.mark.parametrize("why", ["it is told", "its owner is gone"])
def test_it_ends_and_leaves_nothing(owner: subprocess.Popen[bytes], why: str) -> None:
    disk.ensure()
    name = process(owner.pid)
    with subprocess.Popen([sys.executable, "-m", "tests.lab.kept", name, "orphan"], cwd=REPOSITORY) as keeper:
        place = f"*-{name}-orphan/qmp"
        until(lambda: keeper.poll() is not None or bool(list(MACHINES.glob(place))), "qemu has come up")
        assert keeper.poll() is None
        assert kept.names(name) == ["orphan"]
        assert [command for command in running() if f"{name}-orphan" in command]
        if why == "it is told":
            assert kept.end(name, "orphan")
        else:
            owner.kill()
            owner.wait()
        assert ended(keeper) == 0
    assert list(MACHINES.glob(f"*-{name}-*")) == []
    assert not [command for command in running() if f"{name}-orphan" in command]
    assert not kept.end(name, "orphan")
