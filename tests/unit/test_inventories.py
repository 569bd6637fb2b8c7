"""The inventory that is shipped: ansible reads it, and each of its hosts has a policy that holds."""

from __future__ import annotations

import json
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import compile_policy
from hostguard.policy import load

FOLDER = Path(__file__).parents[2] / "inventories"
INVENTORY = FOLDER / "production"
PASSWORD = FOLDER / "example-vault-password"
DOCUMENTATION = [ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]


def ansible(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "ansible", program, "--vault-password-file", str(PASSWORD), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def variables() -> dict[str, dict[str, Any]]:
    listed = ansible("inventory", "-i", str(INVENTORY), "--list")
    assert "WARNING" not in listed.stderr
    found: dict[str, dict[str, Any]] = json.loads(listed.stdout)["_meta"]["hostvars"]
    return found


def test_every_host_has_a_policy_that_holds(variables: dict[str, dict[str, Any]]) -> None:
    assert len(variables) == 5
    for name, found in variables.items():
        file = Path(found["hostguard_policy_file"].replace("{{ inventory_dir }}", str(INVENTORY)))
        loaded = load.load(file, [(name, found["hostguard_policy"])])
        assert loaded.warnings == (), name
        assert compile_policy(loaded).resources
        assert "egress" in loaded.policy.sections


def test_hosts_of_no_group_only_observe(tmp_path: Path) -> None:
    """Shown by a host more, with the variables that the folder gives to all."""
    (tmp_path / "hosts.yml").write_text("all: {hosts: {new.example.org: {}}}\n")
    (tmp_path / "group_vars").symlink_to(INVENTORY / "group_vars")
    (found,) = json.loads(ansible("inventory", "-i", str(tmp_path), "--list").stdout)["_meta"]["hostvars"].values()
    loaded = load.load(FOLDER / "production.policy.yml", [("all", found["hostguard_policy"])])
    assert loaded.policy.egress
    assert loaded.policy.egress.mode == "observe"


def test_addresses_and_names_are_those_kept_for_documentation(variables: dict[str, dict[str, Any]]) -> None:
    for name, found in variables.items():
        assert name.endswith(".example.org")
        address = ip_address(found["ansible_host"])
        assert any(address in network for network in DOCUMENTATION if network.version == address.version)


def test_the_secret_is_encrypted_and_the_example_password_opens_it() -> None:
    text = (INVENTORY / "group_vars" / "all.yml").read_text(encoding="utf-8")
    assert "ansible_become_password: !vault" in text
    ask = ("gateways[0]", "-i", str(INVENTORY), "-m", "debug", "-a", "var=ansible_become_password")
    assert "example-become-password" in ansible("adhoc", *ask).stdout
