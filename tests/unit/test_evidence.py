"""The collectors: each has a name, a module and a type of answer, and no control can ask for one that is none."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hostguard.bundle import compile_policy
from hostguard.control import JudgingControl
from hostguard.controls import CATALOGUE
from hostguard.host import evidence
from hostguard.host.evidence import services
from hostguard.policy.load import load

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", evidence.COLLECTORS)
def test_each_name_leads_to_a_collector_of_its_module(name: str) -> None:
    found = evidence.collector(name)
    assert (found.__module__, found.__name__) == (
        f"hostguard.host.evidence.{evidence.COLLECTORS[name]}",
        name.replace("-", "_"),
    )


def test_a_control_that_asks_for_no_collector_compiles_for_nobody() -> None:
    judging = next(control for control in CATALOGUE if isinstance(control, JudgingControl))
    wrong = replace(judging, asks=lambda _: {"swap": {"collect": "swapp"}})
    with pytest.raises(ValueError, match=f"{judging.id} asks for swapp: no collector"):
        compile_policy(load(ROOT / "examples" / "hostguard.yml"), [wrong])


def test_a_host_compiles_no_collector_that_is_not_asked_for() -> None:
    look = (
        "import sys; from hostguard.host import evidence\n"
        "assert evidence.collect({'u': {'collect': 'uname'}})['u']['said']\n"
        "print(*sorted(m.rpartition('.')[2] for m in sys.modules if m.startswith('hostguard.host.evidence.')))"
    )
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["files", "machine"]


def test_an_environment_file_that_is_none_is_named(tmp_path: Path) -> None:
    """It hides the variables of all services: so whose file it is must be said."""
    os.mkfifo(tmp_path / "env")
    with pytest.raises(OSError, match="no plain file") as raised:
        services._variables(str(tmp_path / "env"))
    assert raised.value.filename == str(tmp_path / "env")
