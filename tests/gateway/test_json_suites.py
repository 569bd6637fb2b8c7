"""The public suites for parsers of JSON and for JSON Schema, where they are: none of their files is ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostguard.policy.json_schema import unsupported
from tests.gateway.checks import checking
from tests.needs import JSON_SUITES

pytestmark = pytest.mark.needs("envoy", "json suites")
TWICE = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}
"""Refused on purpose: parsers take the first of the two, or the last."""


def test_a_text_is_read_as_the_suite_wants(pki: Path) -> None:
    wrong = []
    with checking([True], pki) as check:
        for path in sorted(Path(JSON_SUITES, "parsing").glob("[yn]_*.json")):
            if check(0, path.read_bytes()) != (path.name.startswith("y_") and path.name not in TWICE):
                wrong.append(path.name)
    assert wrong == []


def test_a_schema_is_understood_as_the_suite_wants_or_refused(pki: Path) -> None:
    files = sorted(Path(JSON_SUITES, "schema-draft2020-12").glob("*.json"))
    cases = [case for path in files for case in json.loads(path.read_text())]
    taken = [case for case in cases if not unsupported(case["schema"])]
    assert len(taken) > 80
    wrong = []
    with checking([case["schema"] for case in taken], pki) as check:
        for at, case in enumerate(taken):
            for test in case["tests"]:
                if check(at, json.dumps(test["data"]).encode()) != test["valid"]:
                    wrong.append((case["description"], test["description"], case["schema"], test["data"]))
    assert wrong == []
