"""A hint that names a command names one that works as it stands, on the machine that it is for."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hostguard.cli import called, targets
from hostguard.cli.failure import Stop, host_errors
from hostguard.controls import CATALOGUE
from hostguard.host import program_main, store
from hostguard.host.resource import NotRoot
from hostguard.rehearse import namespaces
from hostguard.target import remote
from hostguard.verdict import Result

ROOT = Path(__file__).parents[2]
SCRIPT = f"#!{sys.executable}\nfrom hostguard.cli.main import run\nrun()\n"


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The program in a folder of its own, as pipx and venv have it, called as root by nobody."""
    path = tmp_path / "a venv" / "hostguard"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path), "audit", "-p", "my policy.yml"])
    monkeypatch.setattr(called, "is_root", lambda: False)
    return path


def test_what_sudo_does_not_find_is_named_by_its_path(program: Path) -> None:
    assert called.as_root("confirm") == f"sudo {shlex.quote(str(program))} confirm"
    assert shlex.split(called.again_as_root()) == ["sudo", str(program), "audit", "-p", "my policy.yml"]


def test_what_a_shell_finds_is_named_by_its_name(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert called.command("plan") == "hostguard plan"


def test_another_program_of_the_name_is_not_meant(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hostguard").write_text(SCRIPT)
    (tmp_path / "hostguard").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{program.parent}")
    assert shlex.split(called.command("plan")) == [str(program), "plan"]


def test_the_first_steps_that_init_names_can_be_taken(program: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([program, "init"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    step = done.stderr.partition("then: ")[2].partition(",")[0]
    assert shlex.split(step) == [str(program), "validate"]
    assert subprocess.run(step, shell=True, cwd=tmp_path, env=environment, check=False).returncode == 0  # noqa: S602 - a hint as the shell has it


def test_what_only_root_may_is_told_with_the_same_call_as_root(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Stop) as refused, host_errors():
        raise NotRoot("only root may read it")
    assert refused.value.lines == [f"only root may read it: {called.again_as_root()}"]

    def forbidden(_path: str) -> list[str]:
        raise PermissionError(13, "Permission denied", store.GENERATIONS)

    monkeypatch.setattr(os, "listdir", forbidden)
    with pytest.raises(Stop, match=f"only root may read the generations: sudo '{program}' audit"), host_errors():
        store.current()


def test_another_host_is_not_told_of_this_ones_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(called, "is_root", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    said = program_main.answer_or_error({"do": "prove", "shots": []})["error"]
    assert said == (
        "only root can become the accounts that try, and see what leaves on the host "
        "(with --host: --sudo; with ansible: become)"
    )
    there = targets.Named([remote.parse("ssh://web")], 1)
    assert (targets.ThisHost().as_root(), there.as_root()) == (called.again_as_root(), "with --sudo")
    assert targets.Named([remote.parse("ssh://web", sudo=True)], 1).as_root() == ""


@pytest.mark.parametrize(
    ("actual", "wants"),
    [
        ("/etc/shadow: Permission denied", True),
        ("iptables: you must be root", True),
        ("guest@web: Permission denied (publickey,password).", False),
        ("timed out", False),
    ],
)
def test_a_report_names_no_program_of_the_controller(actual: str, wants: bool) -> None:
    control = CATALOGUE[0]
    result = Result(control, "unknown", control.severity, "", actual, "")
    assert result.wants_root == wants
    assert (result.remediation == "Run the audit as root.") == wants


def test_a_machine_that_forbids_namespaces_is_rehearsed_on_as_root() -> None:
    said = namespaces.why_forbidden("Operation not permitted")
    assert said.endswith("rehearse as root")
