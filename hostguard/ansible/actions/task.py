"""What all actions share: compile on the controller, one round trip to the host."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

# Imported with the plugin, which the strategy loads before it forks its workers: they find all of it in memory.
from hostguard import controls
from hostguard.bundle import Compiled, compile_policy
from hostguard.host.resource import HostError
from hostguard.policy import load
from hostguard.target import bounded, payload

AREAS = tuple(area.name for area in controls.AREAS)
POLICY_FILE_SPEC: dict[str, Any] = {"policy": {"type": "dict", "default": {}}, "policy_file": {"type": "path"}}
LIMITS_SPEC: dict[str, Any] = {
    "answer_within": {"type": "str", "default": "300s"},
    "answer_size": {"type": "str", "default": "64M"},
}
POLICY_SPEC: dict[str, Any] = {
    **POLICY_FILE_SPEC,
    **LIMITS_SPEC,
    "areas": {"type": "list", "elements": "str", "choices": list(AREAS)},
}
SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s"
"""Ansible's own default. Other arguments are somebody's choice, and stay."""
KEEPALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"
"""A connection that others share, to a host that was replaced, is noticed to be dead and not asked through again."""
CLEARING = bounded.Limits(seconds=5.0)
"""For giving up a connection."""
VARIABLE = re.compile(r"\s*\{\{\s*(\w+)\s*(?:\|\s*\w+\s*(?:\([^()]*\)\s*)?)*\}\}\s*", re.ASCII)
"""What a value is in YAML that is one variable, with filters such as its default or without."""


class HostRefused(Exception):
    """What the host program said it can't do. `late`: nothing waits to be confirmed any more."""

    def __init__(self, said: str, late: bool = False) -> None:
        super().__init__(said)
        self.late = late


class NoAnswer(AnsibleActionFail):  # type: ignore[misc]  # ansible has no types
    """It was asked, and what came is no answer; what became of the request is not known."""


class GivenUp(NoAnswer):
    """It took too long, or said too much."""


class HostguardAction(ActionBase):  # type: ignore[misc]  # ansible has no types
    """What apply and audit share."""

    _supports_check_mode = True
    _supports_async = False

    def arguments(self, spec: dict[str, Any]) -> dict[str, Any]:
        _, arguments = self.validate_argument_spec(argument_spec=spec)
        found: dict[str, Any] = arguments
        return found

    def compiled(self, arguments: Mapping[str, Any]) -> Compiled:
        loaded = self.loaded(arguments)
        return compile_policy(loaded, areas=areas_of(arguments["areas"], arguments.get("run_tags", ())))

    def loaded(self, arguments: Mapping[str, Any]) -> load.LoadedPolicy:
        """The policy of this host: the file, with the inventory's variable over it, or that alone."""
        overlay, variable = plain(arguments["policy"]), self.written("policy")
        try:
            if not overlay and not arguments["policy_file"]:
                # An empty policy gives back all that was ever applied: too much for a variable that got lost.
                names = f"`{variable}` nor `{self.written('policy_file')}`"
                raise AnsibleActionFail(f"there is no policy: neither {names} says anything")
            if arguments["policy_file"]:
                return load.load(self.found(arguments["policy_file"]), [(variable, overlay)] if overlay else [])
            return load.of_variables(overlay, variable)
        except load.PolicyError as error:
            raise AnsibleActionFail("\n".join(["the policy can't be used; nothing was touched", str(error)])) from None

    def found(self, file: str, argument: str = "policy_file") -> Path:
        """On the controller, where ansible looks for files."""
        try:
            return Path(self._find_needle("files", file))
        except AnsibleError as error:
            raise AnsibleActionFail(f"{self.written(argument)}: {error}") from None

    def written(self, argument: str) -> str:
        """What the user knows an argument of this task by: the variable that is all of its value, as in our roles, or
        else its own name."""
        task, action = self._task.get_ds() or {}, str(self._task.action).rpartition(".")[2]
        said = next((value for key, value in task.items() if key.rpartition(".")[2] == action), None)
        value = said.get(argument) if isinstance(said, Mapping) else None
        variable = VARIABLE.fullmatch(value) if isinstance(value, str) else None
        return variable[1] if variable else argument

    def command(self, task_vars: Mapping[str, Any]) -> str:
        """What starts the host program there."""
        named = str(self._templar.template(C.config.get_config_value("INTERPRETER_PYTHON", variables=dict(task_vars))))
        environment = self._compute_environment_string()
        command = payload.command(None if named.startswith("auto") else named)
        return f"export {environment}; {command}" if environment else command

    def limits(self, arguments: Mapping[str, Any]) -> bounded.Limits:
        try:
            return bounded.Limits.of(arguments["answer_within"], arguments["answer_size"])
        except ValueError as error:
            argument, _, said = str(error).partition(":")
            raise AnsibleActionFail(f"{self.written(argument)}:{said}") from None

    def ask(self, request: Mapping[str, Any], command: str, limits: bounded.Limits = bounded.USUAL) -> dict[str, Any]:
        """One round trip. Raises HostRefused, NoAnswer where it is not known what became of the request,
        AnsibleActionFail where no program took it, and AnsibleConnectionFailure where there is no way to the host."""
        self._keep_alive()
        bounded.bind(sys.modules[type(self._connection).__module__])
        try:
            with bounded.within(limits) as bound:
                try:
                    said = self._low_level_execute_command(command, in_data=payload.stdin(request))
                finally:
                    bound.left()  # whatever it seems to be: its connection was ended because the time was over
            answer = payload.answer(str(request["do"]), said["rc"], *(_bytes(said[k]) for k in ("stdout", "stderr")))
        except bounded.TooMuch as error:
            with contextlib.suppress(Exception), bounded.within(CLEARING):
                self.new_connection()  # the next question is not to wait for the same
            raise GivenUp(str(error)) from None
        except HostError as error:
            raise (AnsibleActionFail if said["rc"] == payload.NO_PYTHON else NoAnswer)(str(error)) from None
        if "error" in answer and "outcome" not in answer:
            raise HostRefused(answer["error"], late=bool(answer.get("late")))
        return answer

    def _keep_alive(self) -> None:
        with contextlib.suppress(KeyError, AnsibleError):  # of ssh alone
            if self._connection.get_option("ssh_args") == SSH_ARGS:
                self._connection.set_option("ssh_args", f"{SSH_ARGS} {KEEPALIVE}")

    def new_connection(self) -> None:
        """The next question goes over a connection that is made for it: only that shows that the way in works."""
        with contextlib.suppress(AttributeError):  # local has no connection to make anew
            self._connection.reset()
        self._connection._connected = False


def areas_of(areas: Sequence[str] | None, run_tags: Sequence[str]) -> Sequence[str] | None:
    """The areas that a task speaks for, None for all: its own, or else those that the run's tags name."""
    if areas is not None or "hostguard" in run_tags:
        return areas
    return [area for area in AREAS if area in run_tags] or None


def _bytes(said: Any) -> bytes:
    """Ansible reads a host's bytes as text, and keeps what is none."""
    return str(said).encode("utf-8", "surrogateescape")


def plain(found: Any) -> Any:
    """Ansible's own kinds of text and numbers as Python's, and a date as the text that it was."""
    return json.loads(json.dumps(found, default=str))
