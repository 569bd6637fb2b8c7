"""Tests side by side: those of a module stay on one worker and in order, unless they say otherwise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.schedule import LONGEST_FIRST
from tests.times import table
from tests.witness.test_breaks import PLATFORMS

CHECKOUT = Path(__file__).parents[2]
MODULE = """
import os, pathlib, pytest

@pytest.mark.parametrize("number", range(8))
def test_it(number):
    folder = pathlib.Path(__file__).parent
    with (folder / f"{pathlib.Path(__file__).stem}.log").open("a") as log:
        print(number, os.environ["PYTEST_XDIST_WORKER"], file=log)
"""
PLUGINS = ("-p", "tests.schedule")


def side_by_side(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-n", "2", *PLUGINS, *options, "--rootdir", str(folder), str(folder)]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, check=False)


def test_the_tests_of_a_module_stay_together(tmp_path: Path) -> None:
    names = ("one", "two", "three")
    for name in names:
        (tmp_path / f"test_{name}.py").write_text(MODULE)
    done = side_by_side(tmp_path, "--dist", "loadgroup")
    assert done.returncode == 0, done.stdout
    for name in names:
        rows = [line.split() for line in (tmp_path / f"test_{name}.log").read_text().splitlines()]
        assert [int(number) for number, _ in rows] == list(range(8))
        assert len({worker for _, worker in rows}) == 1


def test_every_group_that_goes_first_is_there() -> None:
    marked = {"molecule on a machine", *(f"breaks on {platform}" for platform in PLATFORMS)}
    for name in LONGEST_FIRST:
        assert name in marked or (CHECKOUT / "tests" / f"{name}.py").exists(), name


def test_the_table_of_times_counts_everything() -> None:
    groups = {"unit/a": [3, 60.0], "unit/b": [1, 30.0], "unit/c": [1, 6.0], "unit/d": [2, 4.0]}
    run = {"seconds": 50.0, "busy": 80.0, "workers": 3, "cores": 2, "groups": groups}
    said = table(run).splitlines()
    assert said[2:5] == ["| unit/a | 3 | 60 | 60% |", "| unit/b | 1 | 30 | 30% |", "| 2 shorter ones | 3 | 10 | 10% |"]
    assert said[-1] == "100 s of tests in 50 s by 3 workers; the 2 cores were busy for 80% of that."
