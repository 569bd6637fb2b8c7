"""Every scenario of molecule/, from nothing to nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.lab import Lab, disk, image, kept
from tests.lab.disk import whats_missing_for_machines
from tests.lab.lab import OWNER
from tests.lab.process import whats_missing
from tests.molecule.run import SCENARIOS, molecule

MACHINE = "machine"
CONTAINERS = tuple(name for name in SCENARIOS if name != MACHINE)

Runs = Mapping[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Runs]:
    """Those that were asked for, two at a time: most of a run is waiting. The hosts belong to this process, and go
    with it."""
    image.ensure("trixie")
    specs = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    chosen = {spec.params.get("scenario") for spec in specs} & set(CONTAINERS)
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run, name, lab, seconds=600) for name in sorted(chosen)}


def run(scenario: str, lab: Lab, *, seconds: float) -> subprocess.CompletedProcess[str]:
    return molecule(["test", "-s", scenario], env={OWNER: lab.owner, "NO_COLOR": "1"}, seconds=seconds)


@pytest.mark.skipif(bool(whats_missing()), reason=whats_missing() or "")
@pytest.mark.parametrize("scenario", CONTAINERS)
def test_scenario(runs: Runs, scenario: str) -> None:
    done = runs[scenario].result()
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(bool(whats_missing_for_machines()), reason=whats_missing_for_machines() or "")
def test_scenario_on_a_machine(lab: Lab) -> None:
    """After all others and by itself: it takes every core, and those that wait for one run out of time."""
    disk.ensure()
    try:
        done = run(MACHINE, lab, seconds=1800)
    finally:
        kept.end(lab.owner)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_scenario_is_run() -> None:
    assert set(SCENARIOS) == {"default", "debian13", "legacy", "machine", "names", "observe"}
