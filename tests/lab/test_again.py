"""What becomes of a test in which an emulated kernel panics: done again once, and never passed or failed for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.debian import REPOSITORY

pytestmark = [pytest.mark.needs("machine"), pytest.mark.alone]

MODULE = """
import pathlib, pytest
from tests.lab import machine

pytestmark = pytest.mark.needs("machine")
log = pathlib.Path(__file__).with_name("log")

def count(word):
    with log.open("a") as out:
        print(word, file=out)
    return log.read_text().split().count(word)

@pytest.fixture(scope="module")
def way():
    count("new")
    return []

def test_first(way):
    way.append("first")

def test_second(way):
    assert way == ["first"], "on what the first has left, on the same machine"
    if count("second") <= PANICS:
        machine.panics.append("Kernel panic - not syncing: tried")
        pytest.fail("as the connection has ended")

def test_third(way):
    assert WELL
"""


def run(tmp_path: Path, *, panics: int, well: bool = True) -> tuple[list[str], str, str]:
    """What was counted, and what was printed on both streams."""
    (tmp_path / "test_it.py").write_text(MODULE.replace("PANICS", str(panics)).replace("WELL", str(well)))
    plugins = ["-p", "tests.needs", "-p", "tests.lab.again", "-p", "no:cacheprovider"]
    argv = [sys.executable, "-m", "pytest", "-rs", *plugins,
            "--rootdir", str(tmp_path), str(tmp_path)]  # fmt: skip
    done = subprocess.run(argv, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, check=False)
    return (tmp_path / "log").read_text().split(), done.stdout, done.stderr


def test_without_a_panic_nothing_is_done_again(tmp_path: Path) -> None:
    counted, said, told = run(tmp_path, panics=0, well=False)
    assert counted == ["new", "second"]
    assert "1 failed, 2 passed" in said
    assert told == ""


def test_a_panic_is_printed_and_the_machines_tests_are_done_again(tmp_path: Path) -> None:
    counted, said, told = run(tmp_path, panics=1)
    assert counted == ["new", "second", "new", "second"]
    assert "3 passed" in said
    assert "Kernel panic - not syncing: tried: starting the machine again" in told


def test_a_second_panic_leaves_the_test_untried(tmp_path: Path) -> None:
    counted, said, told = run(tmp_path, panics=2)
    assert counted == ["new", "second", "new", "second"]
    assert "2 passed, 1 skipped" in said
    assert "gave up twice" in said
    assert "for the second time" in told
