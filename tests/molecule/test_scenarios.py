"""Every scenario of molecule/, from nothing to nothing."""

from __future__ import annotations

import pytest

from tests.lab import Lab, disk, image, kept
from tests.lab.lab import OWNER
from tests.lab.machine import PANIC, panics
from tests.molecule.run import SCENARIOS, molecule

MACHINE = "machine"
NEEDS = {"gateway": pytest.mark.needs("envoy"), "secret_agent": pytest.mark.needs("bao")}
CONTAINERS = [pytest.param(name, marks=NEEDS.get(name, ())) for name in SCENARIOS if name != MACHINE]


def run(scenario: str, lab: Lab, *, seconds: float) -> None:
    """Its hosts belong to this process, and go with it."""
    done = molecule(["test", "-s", scenario], env={OWNER: lab.owner, "NO_COLOR": "1"}, seconds=seconds)
    if done.returncode:
        panics.extend(PANIC.findall(done.stdout + done.stderr))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.needs("lab")
@pytest.mark.alone
@pytest.mark.parametrize("scenario", CONTAINERS)
def test_scenario(lab: Lab, scenario: str) -> None:
    image.ensure("trixie")
    run(scenario, lab, seconds=600)


@pytest.mark.needs("lab", "machine")
@pytest.mark.xdist_group("molecule on a machine")
def test_scenario_on_a_machine(lab: Lab) -> None:
    disk.ensure()
    try:
        run(MACHINE, lab, seconds=1800)
    finally:
        kept.end(lab.owner)


@pytest.mark.alone
def test_every_scenario_is_run() -> None:
    assert set(SCENARIOS) == {"default", "debian13", "gateway", "legacy", "machine", "names", "observe", "secret_agent"}
