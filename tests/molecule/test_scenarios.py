"""Every scenario of molecule/, from nothing to nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.lab import Lab
from tests.lab.image import ensure
from tests.lab.lab import OWNER
from tests.lab.process import whats_missing
from tests.molecule.run import SCENARIOS, molecule

Runs = Mapping[str, "Future[subprocess.CompletedProcess[str]]"]


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Runs]:
    """Those that were asked for, two at a time: most of a run is waiting. The hosts belong to this process, and go
    with it."""
    ensure("trixie")
    specs = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    chosen = {spec.params.get("scenario") for spec in specs} & set(SCENARIOS)
    with ThreadPoolExecutor(2) as pool:
        env = {OWNER: lab.owner, "NO_COLOR": "1"}
        yield {name: pool.submit(molecule, ["test", "-s", name], env=env, seconds=600) for name in sorted(chosen)}


@pytest.mark.skipif(bool(whats_missing()), reason=whats_missing() or "")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(runs: Runs, scenario: str) -> None:
    done = runs[scenario].result()
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_scenario_is_run() -> None:
    assert set(SCENARIOS) == {"default", "debian13", "legacy", "observe"}
