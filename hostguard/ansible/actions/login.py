"""What the secret agent logs in with, brought to its host."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleActionFail

from hostguard import controls, verdict
from hostguard.ansible.actions.task import LIMITS_SPEC, POLICY_FILE_SPEC, HostguardAction, HostRefused
from hostguard.bundle import Compiled, compile_policy
from hostguard.host import login
from hostguard.policy import keys
from hostguard.policy.model import AgentAuth
from hostguard.seen import Seen
from hostguard.visible import one_line

LOGIN_SPEC: dict[str, Any] = {
    **POLICY_FILE_SPEC,
    **LIMITS_SPEC,
    "role_id": {"type": "str", "default": "", "no_log": True},
    "secret_id": {"type": "str", "default": "", "no_log": True},
    "secret_id_command": {"type": "list", "elements": "str", "default": []},
    "anew": {"type": "bool", "default": False},
}


class SecretAgentLogin(HostguardAction):
    """What the agent logs in with, as files that its account alone may read. It goes to the host over the connection's
    standard input: it is in no result, no command line and no file but its own, here and there."""

    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(LOGIN_SPEC)
        compiled = compile_policy(self.loaded(arguments), areas=["secrets"])
        agent = keys.derive(compiled.loaded.policy)
        if agent is None:
            return {**result, "changed": False}
        if errors := list(misgiven_login(arguments, agent.auth, self.written)):
            raise AnsibleActionFail("\n".join(errors))
        if agent.auth.method != "approle":
            return {**result, "changed": False}
        places = {"role_id": str(agent.auth.role_id), "secret_id": str(agent.auth.secret_id)}
        wraps = agent.auth.wrapped_by is not None

        def asked(request: Mapping[str, Any]) -> dict[str, Any]:
            try:
                return self.ask(request, self.command(task_vars or {}), self.limits(arguments))
            except HostRefused as refused:
                raise AnsibleActionFail(one_line(refused)) from None

        request = {"do": "login", "account": agent.account, "unit": keys.UNIT}

        def kept(contents: Mapping[str, str | None], *, check: bool) -> dict[str, str]:
            files = [{"path": places[name], "content": content, "spent": wraps and name == "secret_id"}
                     for name, content in contents.items()]  # fmt: skip
            done = asked({**request, "files": files, "check": check})["files"]
            if silent := [file["path"] for file in files if file["path"] not in done]:
                raise AnsibleActionFail(f"the host does not say whether {' and '.join(map(str, silent))} is there")
            return {name: done[places[name]] for name in contents}

        contents = {name: self.line(name, arguments[name]) or None for name in places}
        command = arguments["secret_id_command"]
        seen = kept(contents, check=True)
        # What wraps is good once, and the agent removed it: no file tells whether another one is needed.
        needed = (arguments["anew"] or not works(compiled, asked)) if wraps else seen["secret_id"] != login.THERE
        wanted = {"role_id": True, "secret_id": needed}
        for name in places:
            given = contents[name] or (name == "secret_id" and command)
            if wanted[name] and not given and seen[name] == login.ABSENT:
                expected = f"expected the {name} of the agent's role: give {self.written(name)}, or put it there"
                raise AnsibleActionFail(f"{places[name]}: found nothing on the host, {expected}")
        if self._task.check_mode:
            written = [name for name in places if wanted[name] and contents[name] and seen[name] != login.THERE]
            return {**result, "changed": bool(written or (needed and command))}
        if needed and command:
            contents["secret_id"] = self.said(command)
        done = kept({name: said for name, said in contents.items() if said and wanted[name]}, check=False)
        return {**result, "changed": login.WRITTEN in done.values()}

    def line(self, argument: str, value: str) -> str:
        """A value without the white space around it, which the agent cuts off too. No error tells the value."""
        if value and not value.strip().isprintable():
            raise AnsibleActionFail(
                f"{self.written(argument)}: found several lines, or what is no text, expected a word"
            )
        return value.strip()

    def said(self, command: Sequence[str]) -> str:
        """What a program of the controller's prints."""
        name, program = self.written("secret_id_command"), str(command[0])
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            why = error.strerror if isinstance(error, OSError) else f"it took longer than {COMMAND_SECONDS} s"
            raise AnsibleActionFail(f"{name}: {program} could not be run on the controller: {why}") from None
        if done.returncode:
            words = one_line(done.stderr.strip()[-MOST_WORDS:])
            raise AnsibleActionFail(f"{name}: {program} ended with {done.returncode} on the controller: {words}")
        if not done.stdout.strip():
            raise AnsibleActionFail(f"{name}: {program} printed nothing, expected the secret_id, or what wraps it")
        return self.line("secret_id_command", done.stdout)


def misgiven_login(given: Mapping[str, Any], auth: AgentAuth, written: Callable[[str], str]) -> Iterator[str]:
    """What can't be meant of a login, beside the policy's own way to log in."""
    if given["secret_id"] and given["secret_id_command"]:
        yield f"{written('secret_id_command')}: found one beside {written('secret_id')}, expected one of the two"
    for name in ("role_id", "secret_id", "secret_id_command"):
        if given[name] and auth.method != "approle":
            yield f"{written(name)}: found one, expected none: the policy's secrets.agent.auth.method is {auth.method}"


COMMAND_SECONDS, MOST_WORDS = 60, 400
FETCHES = ("secrets.agent", "secrets.agent-fresh")


def works(compiled: Compiled, asked: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> bool:
    """Whether the agent runs as the policy has it, and fetches: it is logged in then, and an apply does not start it
    anew."""
    bundle = compiled.bundle()
    seen = Seen.of(bundle, asked({"do": "read", "bundle": bundle}))
    judged = verdict.judge(compiled, "", seen, [each for each in controls.CATALOGUE if each.id in FETCHES])
    return all(result.status == "pass" for result in judged.results)
