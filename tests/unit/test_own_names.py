"""What is wrong in a role's or a playbook's variable is told by the name that its writer gave it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task
from ansible.template import Templar

from hostguard.ansible import collection
from hostguard.ansible.actions.transaction import Apply

ROOT = Path(__file__).parents[2]
WHOLE = {"policy": {}, "policy_file": None, "areas": None, "confirm_within": "60s", "restart": False,
         "answer_within": "300s", "answer_size": "64M"}  # fmt: skip
ACTIONS = ("apply", "audit", "policy", "rollback")


def tasks(found: Any) -> Iterator[dict[str, Any]]:
    """Those of our actions, of a role or a playbook."""
    for each in found:
        yield from tasks(each.get("tasks", ()))
        if any(f"hostguard.hostguard.{name}" in each for name in ACTIONS):
            yield each


def of_ours() -> Iterator[Any]:
    for path in sorted([*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("hostguard/ansible/playbooks/*.yml")]):
        for task in tasks(yaml.safe_load(path.read_text(encoding="utf-8")) or ()):
            yield pytest.param(task, id=str(path.relative_to(ROOT)))


def asked(task: dict[str, Any]) -> Apply:
    """The action of a task as it was written."""
    loader = DataLoader()
    made = Task()
    made._ds, made.action = task, next(key for key in task if key.startswith("hostguard."))
    return Apply(made, None, PlayContext(), loader, Templar(loader=loader), None)


def told(task: dict[str, Any], **arguments: Any) -> str:
    given, does = {**WHOLE, **arguments}, asked(task)
    with pytest.raises(AnsibleActionFail) as raised:
        does.loaded(given) if "policy" in arguments or not arguments else (does.limits(given), does.options(given))
    return str(raised.value)


@pytest.mark.parametrize("task", list(of_ours()))
def test_every_role_and_playbook_of_ours_names_its_variables(task: dict[str, Any]) -> None:
    (arguments,) = (value for key, value in task.items() if key.startswith("hostguard."))
    for name, value in arguments.items():
        if isinstance(value, str) and name in WHOLE:
            assert asked(task).written(name) == f"hostguard_{name}"


ROLE = {"hostguard.hostguard.apply": {name: f"{{{{ hostguard_{name} }}}}" for name in WHOLE}}
OWN = {"hostguard.hostguard.apply": {"policy": {"egress": {}}, "confirm_within": "{{ 5 * window }}s",
                                     "answer_within": "{{ patience | default('300s') }}"}}  # fmt: skip


def test_a_key_of_the_policy_is_told_with_its_variable() -> None:
    wrong = {"egress": {"mode": "maybe"}}
    assert "\nhostguard_policy: egress.mode: found 'maybe'" in told(ROLE, policy=wrong)
    assert "\npolicy: egress.mode: found 'maybe'" in told(OWN, policy=wrong)


def test_a_policy_that_is_not_there_is_told_with_both_of_its_variables() -> None:
    assert "neither `hostguard_policy` nor `hostguard_policy_file` says" in told(ROLE)
    assert "neither `policy` nor `policy_file` says" in told(OWN)


@pytest.mark.parametrize("argument", ["confirm_within", "answer_within", "answer_size"])
def test_an_option_is_told_with_its_variable(argument: str) -> None:
    assert told(ROLE, **{argument: "soon"}).startswith(f"hostguard_{argument}: found 'soon', expected ")


def test_what_is_more_than_a_variable_is_told_by_the_argument() -> None:
    assert told(OWN, confirm_within="soon").startswith("confirm_within: found 'soon'")
    assert told(OWN, answer_within="soon").startswith("patience: found 'soon'")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"hostguard_policy": {"kernel": {}}, "hostguard_confirm_within": "soon"}, "hostguard_confirm_within: found"),
        ({"hostguard_policy_file": "none.yml"}, "hostguard_policy_file: Could not find or access 'none.yml'"),
    ],
)
def test_ansible_s_own_workers_know_the_names_too(variables: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Nothing is touched: what is wrong is found before anybody is asked."""
    play = {"hosts": "all", "gather_facts": False, "vars": variables, "roles": ["hostguard.hostguard.kernel_tuning"]}
    playbook = tmp_path / "play.yml"
    playbook.write_text(yaml.safe_dump([play]))
    call = [sys.executable, "-m", "ansible", "playbook", "--check", "-i", "localhost,", "-c", "local", str(playbook)]
    with collection.environment() as found:
        environment = {**os.environ, **found, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(call, capture_output=True, text=True, check=False, env=environment)
    assert words in done.stdout, done.stdout + done.stderr
