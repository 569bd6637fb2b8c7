"""What is locked is what the project asks for, with a hash for each file, and nothing is missing from it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import ansible_test
import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
LOCKED = CHECKOUT / ".ci" / "locked"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
WHEEL, GROUPS = PROJECT["project"]["dependencies"], PROJECT["dependency-groups"]


def asked(group: list[Any]) -> list[str]:
    """What a group asks for, and those that it includes."""
    return [name for each in group for name in ([each] if isinstance(each, str) else GROUPS[each["include-group"]])]


SANITY = Path(ansible_test.__path__[0], "_data", "requirements").glob("sanity.*.txt")
LISTS = {
    "wheel": WHEEL,
    "build": GROUPS["build"],
    "test": [*WHEEL, *GROUPS["build"], *asked(GROUPS["test"]), *GROUPS["lint"]],
    "faults": GROUPS["faults"],
    "bench": [*WHEEL, *GROUPS["build"], *GROUPS["bench"]],
    "legacy": GROUPS["legacy"],
    "sanity": [line for path in SANITY for line in path.read_text().splitlines() if not line.startswith("#")],
}
ENTRY = re.compile(r"^(?P<pin>\w[^\\\n]*?)(?P<hashes>(?: \\\n +--hash=sha256:[0-9a-f]{64})*)$", re.MULTILINE)


def canonical(name: str) -> str:
    """PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> list[tuple[Requirement, int]]:
    """What a list pins, and how many hashes each has."""
    text = (LOCKED / f"{name}.txt").read_text(encoding="utf-8")
    return [(Requirement(found["pin"]), found["hashes"].count("--hash")) for found in ENTRY.finditer(text)]


def versions(name: str) -> dict[str, set[str]]:
    """By package: its versions for whatever Python and platform."""
    found = defaultdict(set)
    for pin, _ in pins(name):
        (only,) = pin.specifier
        assert only.operator == "==", pin
        found[canonical(pin.name)].add(only.version)
    return found


def test_every_list_is_one_that_something_installs() -> None:
    assert {path.stem for path in LOCKED.iterdir()} == set(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_holds_what_the_project_asks_for(name: str) -> None:
    locked = versions(name)
    for wanted in map(Requirement, LISTS[name]):
        found = locked[canonical(wanted.name)]
        assert found, f"{wanted} is not in {name}.txt: make lock"
        assert all(wanted.specifier.contains(version) for version in found), f"{wanted}: make lock"
    assert [pin for pin, hashes in pins(name) if not hashes] == []


def test_a_package_has_the_same_versions_in_every_list() -> None:
    everything: dict[str, set[str]] = {}
    for name in LISTS.keys() - {"sanity"}:  # which are ansible-core's, in environments of its own
        for package, found in versions(name).items():
            assert everything.setdefault(package, found) == found, package


def test_nothing_is_missing_from_what_was_installed() -> None:
    """pip was told to take no package that a list does not name; here it says what that one lacks."""
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_extra_is_the_group_that_is_locked() -> None:
    assert set(PROJECT["project"]["optional-dependencies"]["legacy"]) < set(GROUPS["legacy"])
