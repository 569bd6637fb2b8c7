"""The collection's plugins where the controller's Python is not what they need."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hostguard.ansible import collection
from hostguard.ansible.actions.programs import misgiven
from hostguard.ansible.role_docs import MODULES


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


PIN = "0" * 64
POLICY: dict[str, Any] = {
    "egress": {"proxy_user": "out", "resolvers": ["192.0.2.53"],
               "providers": {"a": {"hosts": ["a.example"]}, "b": {"hosts": ["b.example"]}}},
    "gateway": {"program": "/opt/envoy", "providers": {
        "a": {"users": ["shop"], "group": "shop", "load": {"peak_rps": 1, "p99": "1s"}},
        "b": {"users": ["mail"], "listen": 84, "load": {"peak_rps": 1, "p99": "1s"}}}},
}  # fmt: skip


def needs(folder: Path, change: Mapping[str, Any] | None = None, **options: str) -> tuple[dict[str, Any], str]:
    """What the action `gateway` returns of the policy with this change to its gateway, and all that ansible says."""
    arguments = {"policy": {**POLICY, "gateway": {**POLICY["gateway"], **(change or {})}}, **options}
    done = ansible(
        "adhoc", "localhost", "-m", "hostguard.hostguard.gateway", "-a", json.dumps(arguments), libraries=folder
    )
    _, _, said = done.stdout.partition("=> ")
    return (json.loads(said) if not done.returncode else {}), done.stdout + done.stderr


def test_what_a_gateway_needs_is_the_policy_s_own(tmp_path: Path) -> None:
    found, said = needs(tmp_path)
    needed = {"needed": True, "changed": False, "program": "/opt/envoy", "binary": "", "sha256": "", "account": "out",
              "groups": ["shop"]}  # fmt: skip
    assert found == needed, said


def test_a_gateway_that_somebody_else_runs_needs_nothing(tmp_path: Path) -> None:
    found, said = needs(tmp_path, {"manage": False, "admin": "/run/admin.sock"}, package="envoy")
    assert found == {"needed": False, "changed": False}, said


def test_the_policy_s_pin_is_that_of_a_file_on_the_controller(tmp_path: Path) -> None:
    file = tmp_path / "envoy"
    file.write_bytes(b"it")
    pin = hashlib.sha256(b"it").hexdigest()
    found, said = needs(tmp_path, {"sha256": pin}, binary=str(file))
    assert (found["binary"], found["sha256"]) == (str(file), pin), said
    _, said = needs(tmp_path, {"sha256": PIN}, binary=str(file))
    assert f"{file} has the SHA-256 {pin}, expected {PIN}" in said


@pytest.mark.parametrize(
    ("given", "pin", "said"),
    [
        ({}, None, []),
        ({"sha256": PIN}, None, []),
        ({"package": "envoy"}, None, []),
        ({"package": "envoy"}, PIN, []),
        ({"binary": "envoy", "sha256": PIN}, None, []),
        ({"binary": "envoy"}, PIN, []),
        ({"binary": "envoy"}, None, ["sha256: found nothing, expected the SHA-256 of envoy"]),
        ({"binary": "envoy", "sha256": "abc"}, None, ["sha256: found 'abc', expected 64 hexadecimal digits"]),
        ({"binary": "envoy", "sha256": PIN}, PIN, ["sha256: found one, expected none: the policy has gateway.sha256"]),
        ({"package": "envoy", "binary": "envoy"}, PIN, ["binary: found a file beside package"]),
    ],
)
def test_a_program_has_one_source_and_one_pin(given: dict[str, str], pin: str | None, said: list[str]) -> None:
    found = list(misgiven({"package": "", "binary": "", "sha256": "", **given}, pin, str, "gateway.sha256"))
    assert len(found) == len(said)
    assert all(each.startswith(word) for each, word in zip(found, said, strict=True))


@pytest.mark.parametrize("module", sorted(path.stem for path in MODULES.glob("*.py")))
def test_every_action_is_documented(module: str, tmp_path: Path) -> None:
    done = ansible("doc", f"hostguard.hostguard.{module}", libraries=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "EXAMPLES" in done.stdout
