"""The schema for editors: it takes what a policy may say, and refuses what an editor can know to be wrong."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostguard.ansible import role_docs
from hostguard.policy.document import read
from hostguard.policy.schema import schema
from hostguard.policy.settings import Setting, settings

ROOT = Path(__file__).parents[2]
POLICIES = [
    *sorted((ROOT / "examples").glob("*.yml"), reverse=True),
    ROOT / "hostguard" / "policy" / "starter" / "hostguard.yml",
]
VALIDATOR = jsonschema.Draft202012Validator(schema())


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_takes_policies(path: Path) -> None:
    VALIDATOR.validate(read(path.read_bytes()).data)


def test_it_is_a_schema_and_describes_every_key() -> None:
    whole = schema()
    jsonschema.Draft202012Validator.check_schema(whole)
    from hostguard.policy.model import Policy

    for path, setting in _every(settings(Policy)):
        node: Any = whole
        for part in path:
            inside = node.get("properties", {})
            node = (
                inside.get(part)
                or node.get("additionalProperties")
                or node.get("items", {}).get("properties", {})[part]
            )
        if path[-1] not in ("NAME", "version"):
            assert " ".join(setting.text.split()) in node["description"], path


def _every(of: tuple[Setting, ...]) -> Iterator[tuple[tuple[str, ...], Setting]]:
    for setting in of:
        yield setting.path, setting
        yield from _every(setting.inside)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("egres", {}),
        ("egress.mode", "enfroce"),
        ("egress.proxy_user", "Envoy"),
        ("egress.resolvers", ["api.provider.com"]),
        ("egress.resolvers", "10.0.0.2"),
        ("egress.providers", {"a b": {"cidrs": ["10.0.0.0/8"]}}),
        ("egress.providers", {"a": {"cidr": []}}),
        ("egress.services", {"a": {"cidrs": ["10.0.0.0/8"]}}),
        ("egress.inbound", {"a": {"from": ["10.0.0.0/8"], "ports": ["22"]}}),
        ("kernel", {"fs/file-max": 1}),
        ("limits.units", ["envoy"]),
        ("slices", {"a-b": {}}),
        ("secrets.mode", "0755"),
        ("secrets.size", "16MB"),
        ("platform.kernel_min", 4.18),
        ("capacity", {"peak_rps": 5}),
        ("waivers", [{"control": "kernel.*"}]),
        ("version", 2),
    ],
)
def test_it_refuses(key: str, wrong: Any) -> None:
    policy = copy.deepcopy(read(POLICIES[0].read_bytes()).data)
    *above, last = key.split(".")
    node = policy
    for part in above:
        node = node[part]
    node[last] = wrong
    assert list(VALIDATOR.iter_errors(policy))


def test_the_command_and_what_init_writes(tmp_path: Path) -> None:
    call = [sys.executable, "-m", "hostguard"]
    printed = subprocess.run([*call, "schema"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == schema()
    subprocess.run([*call, "init", str(tmp_path)], cwd=ROOT, capture_output=True, check=True)
    first = (tmp_path / "hostguard.yml").read_text().splitlines()[0]
    assert (tmp_path / first.partition("$schema=")[2]).read_text() == printed


def test_the_page_of_every_key_is_fresh() -> None:
    assert role_docs.PAGE.read_text(encoding="utf-8") == role_docs.page()
