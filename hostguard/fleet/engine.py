"""Have ansible run one of our playbooks, and tell what happens as it happens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostguard.ansible import collection
from hostguard.target.bounded import USUAL, Limits

PLAYBOOKS = Path(collection.__file__).with_name("playbooks")
FORKS = 50
SETTINGS = {
    "ANSIBLE_STDOUT_CALLBACK": "hostguard.hostguard.events",
    "ANSIBLE_LOAD_CALLBACK_PLUGINS": "False",
    "ANSIBLE_PIPELINING": "True",
    "ANSIBLE_RETRY_FILES_ENABLED": "False",
    "ANSIBLE_NOCOLOR": "True",
    "ANSIBLE_DEPRECATION_WARNINGS": "False",
}


class EngineError(Exception):
    """Ansible could not run at all; the text is its own."""


@dataclass(frozen=True)
class Target:
    """Which hosts: the inventory's sources, and a limit in ansible's words."""

    inventory: tuple[str, ...]
    limit: str | None = None
    forks: int = FORKS
    limits: Limits = USUAL


@dataclass(frozen=True)
class Event:
    """`started`, or `ok`, `failed` or `unreachable` with the result of the one task; first of all, of no host, `hosts`
    with their names in the inventory's order."""

    host: str
    status: str
    result: Mapping[str, Any]


def play(
    name: str, target: Target, variables: Mapping[str, Any], hosts: Sequence[str] | None = None
) -> Iterator[Event]:
    """Run a playbook on the target, or on some of its hosts. Raises EngineError where it never came to a host."""
    with collection.environment() as found, tempfile.TemporaryDirectory(prefix="hostguard-") as folder:
        argv = _argv(name, target, variables, hosts, Path(folder))
        environment = {**os.environ, **SETTINGS, **found}
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as said,
            subprocess.Popen(
                argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True
            ) as running,
        ):
            assert running.stdout is not None  # noqa: S101 - a pipe was asked for
            began = False
            other: list[str] = []
            for line in running.stdout:
                event = _event(line)
                if event is None:
                    other.append(line)
                    continue
                if event["event"] == "hosts":
                    began = bool(event["hosts"])
                    yield Event("", "hosts", {"hosts": event["hosts"]})
                elif event["event"] == "started":
                    yield Event(event["host"], "started", {})
                elif event["event"] == "result":
                    yield Event(event["host"], event["status"], event["result"])
            code = running.wait()
            said.seek(0)
            words = (said.read() + "".join(other)).strip()
    if not began and code == 0:
        raise EngineError(f"{', '.join(target.inventory)}: found no hosts, expected an inventory with some")
    if not began:
        raise EngineError(words or f"ansible-playbook ended with {code}")


def _argv(
    name: str, target: Target, variables: Mapping[str, Any], hosts: Sequence[str] | None, folder: Path
) -> list[str]:
    extra = folder / "variables.json"
    extra.write_text(json.dumps(variables), encoding="utf-8")
    argv = [sys.executable, "-m", "ansible", "playbook", str(PLAYBOOKS / f"{name}.yml"), "--extra-vars", f"@{extra}",
            "--forks", str(target.forks)]  # fmt: skip
    for source in target.inventory:
        argv += ["--inventory", source]
    if hosts is not None:
        # A file, since ten thousand names are more than an argument may be long.
        chosen = folder / "hosts"
        chosen.write_text("\n".join(hosts) + "\n", encoding="utf-8")
        argv += ["--limit", f"@{chosen}"]
    elif target.limit:
        argv += ["--limit", target.limit]
    return argv


def _event(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "event" in found else None
