"""A controller of the lab's that runs the roles: what each task said, as ansible tells it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hostguard.ansible import collection
from tests.lab.fleet import Fleet
from tests.witness import policy

Completed = subprocess.CompletedProcess[str]
ANSIBLE = (sys.executable, "-m", "ansible")
EVENTS = {"ANSIBLE_STDOUT_CALLBACK": "hostguard.hostguard.events"}


@dataclass(frozen=True)
class Run:
    """The ends of all tasks that went to a host or spoke for one, in their order."""

    code: int
    results: tuple[Mapping[str, Any], ...]
    text: str

    @property
    def last(self) -> Mapping[str, Any]:
        return self.results[-1]

    @property
    def changed(self) -> list[str]:
        """The resources that the last task changed, or would change."""
        return sorted({change[0] for change in self.last["changes"]})


def wanted(*changes: tuple[str, str]) -> dict[str, Any]:
    """The example policy of the lab, as a variable."""
    found: dict[str, Any] = yaml.safe_load(policy.example(*changes))
    return found


def play(
    fleet: Fleet,
    roles: Sequence[str],
    variables: Mapping[str, Any],
    *options: str,
    env: Mapping[str, str] = EVENTS,
) -> Run:
    """Run roles of the checkout's collection, with a policy as the inventory has it."""
    done = run(fleet, write(fleet.folder, roles, variables), *options, env=env)
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"event"')]
    results = tuple(event["result"] for event in events if event["event"] == "result")
    return Run(done.returncode, results, done.stdout + done.stderr)


def write(folder: Path, roles: Sequence[str], variables: Mapping[str, Any]) -> Path:
    path = folder / "play.yml"
    names = [f"hostguard.hostguard.{role}" for role in roles]
    path.write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "vars": dict(variables), "roles": names}]))
    return path


def run(fleet: Fleet, playbook: Path, *options: str, env: Mapping[str, str] = EVENTS) -> Completed:
    with collection.environment() as found:
        argv = [*ANSIBLE, "playbook", "--inventory", str(fleet.inventory), str(playbook), *options]
        return fleet.run(argv, env={**found, **env})
