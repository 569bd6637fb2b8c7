"""The collection's plugins where the controller's Python is not what they need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hostguard.ansible import collection


def ansible(*arguments: str, libraries: Path) -> subprocess.CompletedProcess[str]:
    with collection.environment() as found:
        env = {**os.environ, **found, "PYTHONPATH": f"{libraries}:{collection.CHECKOUT}", "NO_COLOR": "1"}
        argv = [sys.executable, "-m", "ansible", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=env, cwd=libraries)


@pytest.fixture
def without_pydantic(tmp_path: Path) -> Path:
    for name in ("pydantic", "pydantic_core"):
        (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('hidden', name={name!r})\n")
    return tmp_path


def test_a_task_whose_package_is_missing_fails_with_what_to_install(without_pydantic: Path) -> None:
    done = ansible("adhoc", "localhost", "-m", "hostguard.hostguard.policy", libraries=without_pydantic)
    assert done.returncode
    assert "has no pydantic" in done.stdout + done.stderr
    assert "docs/install.md" in done.stdout + done.stderr


@pytest.mark.parametrize("module", ["apply", "audit", "gateway", "host", "policy", "rollback"])
def test_every_action_is_documented(module: str, tmp_path: Path) -> None:
    done = ansible("doc", f"hostguard.hostguard.{module}", libraries=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "EXAMPLES" in done.stdout
