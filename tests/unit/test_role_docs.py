"""The roles say what the policy's classes say, and no more is written twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from hostguard import generated
from hostguard.ansible import role_docs
from hostguard.ansible.actions.task import AREAS, areas_of, plain
from hostguard.bundle import compile_policy
from hostguard.policy import load, model

EXAMPLE = yaml.safe_load((Path(__file__).parents[2] / "examples" / "hostguard.yml").read_text(encoding="utf-8"))
WAIVER = {"control": "platform.aes", "hosts": ["db*"], "reason": "old CPUs", "by": "jane", "expires": "2026-12-31"}
EXAMPLE["waivers"] = [WAIVER]
EXAMPLE["egress"]["providers"]["payments"]["hosts"] = ["api.provider.com"]
EXAMPLE["gateway"] = {"providers": {"payments": {"users": ["shop"], "listen": 84}}}
LEAST = {"providers": {"other": {"cidrs": ["192.0.2.1/32"]}}, "via": "direct"}
"""Of `egress`, where a role looks at one key of it."""
ROLES = {role.name: role for role in role_docs.ALL_ROLES}


def files(role: str, *names: str) -> Any:
    return yaml.safe_load((role_docs.ROLES.joinpath(role, *names)).read_text(encoding="utf-8"))


BY_HAND = ("audit_timer", "gateway_balancer", "pull")
"""Roles that speak for no section of the policy: what they say of their variables is not generated."""


def test_every_role_is_described() -> None:
    assert {path.name for path in role_docs.ROLES.iterdir()} == {*ROLES, *BY_HAND}
    assert {role.area for role in ROLES.values()} == {"", *AREAS}


@pytest.mark.parametrize("name", ROLES)
def test_nothing_is_stale(name: str) -> None:
    for path, text in role_docs.written(ROLES[name]).items():
        assert path.read_text(encoding="utf-8") == text, "run `python -m hostguard.ansible.role_docs`"


def test_a_text_of_two_lines_is_one_row() -> None:
    _, _, table = role_docs.page().partition("|---|---|---|---|\n")
    assert all(line.startswith("| `") and line.endswith(" |") for line in table.splitlines())


@pytest.mark.parametrize("name", ROLES)
def test_ansible_takes_the_example_and_refuses_a_typo(name: str) -> None:
    options = files(name, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    validator = ArgumentSpecValidator(options)
    assert validator.validate({"hostguard_policy": EXAMPLE}).error_messages == []
    typo = validator.validate({"hostguard_policy": {**EXAMPLE, "egres": {}}})
    assert "egres" in typo.error_messages[0]


def test_ansible_looks_into_a_list_of_settings() -> None:
    options = files("hostguard", "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    wrong = {"hostguard_policy": {"waivers": [{**WAIVER, "host": "db1"}]}}
    assert "host" in ArgumentSpecValidator(options).validate(wrong).error_messages[0]


def test_a_date_of_an_inventory_is_the_text_that_it_was() -> None:
    assert plain(yaml.safe_load("{expires: 2026-12-31}")) == {"expires": "2026-12-31"}


@pytest.mark.parametrize("name", ROLES)
def test_defaults_are_those_of_the_specification(name: str) -> None:
    options = files(name, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = files(name, "defaults", "main.yml")
    assert defaults == {key: option.get("default", "") for key, option in options.items()}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_is_written_by_hand_agrees(name: str) -> None:
    options = files(name, "meta", "argument_specs.yml")["argument_specs"]["main"]["options"]
    assert files(name, "defaults", "main.yml") == {
        key: option["default"] for key, option in options.items() if not option.get("required")
    }
    readme = role_docs.ROLES.joinpath(name, "README.md").read_text(encoding="utf-8")
    _, _, table = readme.partition("| variable | default |")
    table, _, _ = table.partition("\n\n")
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    assert {variable for row in rows for variable in re.findall(r"`(\w+)`", row[0])} == set(options)


@pytest.mark.parametrize("name", [role.name for role in ROLES.values() if role.area])
def test_a_role_looks_at_the_sections_that_it_names_and_no_others(name: str) -> None:
    role = ROLES[name]
    whole = compile_policy(load.of_variables(EXAMPLE, "all"), areas=[role.area])
    named: dict[str, Any] = {}
    for section in role.sections:
        head, _, key = section.partition(".")
        named[head] = {**LEAST, key: EXAMPLE[head][key]} if key else EXAMPLE[head]
    alone = compile_policy(load.of_variables(named, "named"), areas=[role.area])
    assert alone.resources == whole.resources
    assert alone.evidence == whole.evidence


@pytest.mark.parametrize("name", ROLES)
def test_one_task_speaks_for_its_area(name: str) -> None:
    *first, task = files(name, "tasks", "main.yml")
    assert all(each["tags"] == task["tags"] for each in first)
    area = ROLES[name].area
    action = next(value for key, value in task.items() if key.startswith("hostguard.hostguard."))
    if area:
        assert (action["areas"], task["tags"]) == ([area], ["hostguard", area])
    else:
        assert set(task["tags"]) == {"hostguard", *AREAS} - role_docs.CHECKED


@pytest.mark.parametrize(
    ("areas", "tags", "found"),
    [
        (None, ["all"], None),
        (None, ["kernel"], ["kernel"]),
        (None, ["slices", "egress", "deploy"], ["egress", "slices"]),
        (None, ["hostguard", "kernel"], None),
        (["limits"], ["kernel"], ["limits"]),
        ([], ["all"], []),
    ],
)
def test_areas_follow_the_tags_where_a_task_names_none(
    areas: list[str] | None, tags: list[str], found: list[str] | None
) -> None:
    assert areas_of(areas, tags) == found


class Mute(model.Section):
    word: str
    other: str
    """This one has a text."""


def test_a_field_without_a_text_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Mute\.word has no text"):
        generated.docstrings(Mute)
