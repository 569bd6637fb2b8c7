"""How hostguard is installed: a wheel of our own making, which pip knows by its hash and not by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hostguard import __version__
from tests.pipelines.test_examples import GITHUB, GITLAB, ROOT, step, steps

WHEEL = f"hostguard-{__version__}-py3-none-any.whl"


def build(folder: Path) -> Path:
    """The wheel, as `make wheel` builds it."""
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(
        [ROOT / ".ci" / "wheel", folder], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / WHEEL


@dataclass(frozen=True)
class Account:
    """A home with a repository in it, and an environment of Python's that it installs into."""

    home: Path

    def run(self, line: str, **more: str) -> subprocess.CompletedProcess[str]:
        given = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        environment = {**given, "PATH": f"{self.home}/venv/bin:{os.environ['PATH']}", "HOME": str(self.home), **more}
        call = ["bash", "-e", "-c", line]
        return subprocess.run(
            call,
            cwd=self.home / "repository",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Account:
    home = tmp_path_factory.mktemp("home")
    build(home / "repository" / "wheels")
    subprocess.run([sys.executable, "-m", "venv", home / "venv"], check=True)
    return Account(home)


@pytest.fixture(scope="module")
def installed(account: Account) -> Account:
    done = account.run(step(GITLAB, "pip install").line)
    assert done.returncode == 0, done.stderr
    return account


def test_a_commit_has_one_wheel(tmp_path: Path) -> None:
    assert build(tmp_path / "here").read_bytes() == build(tmp_path / "there").read_bytes()


def test_both_pipelines_install_it_alike() -> None:
    installs = {each.line for example in (GITHUB, GITLAB) for each in steps(example) if "install" in each.line}
    assert {line for line in installs if "pip" in line} == {step(GITLAB, "pip install").line}


@pytest.mark.needs("package index")
def test_a_pipeline_installs_the_wheel_that_was_built(installed: Account) -> None:
    assert installed.run("hostguard --version").stdout == f"hostguard {__version__}\n"


@pytest.mark.needs("package index")
def test_another_wheel_of_that_name_and_version_is_refused(account: Account) -> None:
    wheel = account.home / "repository" / "wheels" / WHEEL
    whole = wheel.read_bytes()
    try:
        wheel.write_bytes(whole + b"\0")
        done = account.run(f"{step(GITLAB, 'pip install').line} --no-deps --target elsewhere")
    finally:
        wheel.write_bytes(whole)
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()
    assert not (account.home / "repository" / "elsewhere").exists()


COMPLETE = """
source ~/.bashrc
COMP_WORDS=(hostguard %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_hostguard_completion hostguard
printf '%%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.needs("package index")
def test_bash_completes_commands_and_options(installed: Account) -> None:
    done = installed.run("hostguard --install-completion bash", SHELL="/bin/bash")
    assert done.returncode == 0, done.stderr
    assert installed.run(COMPLETE % "re").stdout.split() == ["rehearse"]
    assert installed.run(COMPLETE % "audit --fail").stdout.split() == ["--fail-on"]
