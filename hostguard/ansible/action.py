"""The action plugins: compile on the controller, one round trip to the host, one more over a new connection."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from pydantic_core import PydanticCustomError

# Imported with the plugin, which the strategy loads before it forks its workers: they find all of it in memory.
from hostguard import controls, planned, verdict, waivers
from hostguard.bundle import Compiled, compile_policy
from hostguard.host import login, store
from hostguard.host import window as window_words
from hostguard.host.resource import HostError
from hostguard.impact import session_cut
from hostguard.outcome import words
from hostguard.policy import grammar, keys, load
from hostguard.policy.gateway import derive
from hostguard.policy.model import AgentAuth
from hostguard.report import json as report_json
from hostguard.report.text import by_the_policy
from hostguard.result import HostReport
from hostguard.seen import Seen
from hostguard.target import bounded, payload
from hostguard.visible import one_line, visible

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
APPLY_SPEC: dict[str, Any] = {
    **POLICY_SPEC,
    "run_tags": {"type": "list", "elements": "str", "default": []},
    "confirm_within": {"type": "str", "default": "60s"},
    "restart": {"type": "bool", "default": False},
}
ROLLBACK_SPEC: dict[str, Any] = {
    **LIMITS_SPEC,
    "to": {"type": "int"},
    "confirm_within": {"type": "str", "default": "60s"},
    "restart": {"type": "bool", "default": False},
}
PROGRAM_SPEC: dict[str, Any] = {
    **POLICY_FILE_SPEC,
    "package": {"type": "str", "default": ""},
    "binary": {"type": "path"},
    "sha256": {"type": "str", "default": ""},
}
SECRET_AGENT_SPEC: dict[str, Any] = {**PROGRAM_SPEC, "ca": {"type": "path"}}
LOGIN_SPEC: dict[str, Any] = {
    **POLICY_FILE_SPEC,
    **LIMITS_SPEC,
    "role_id": {"type": "str", "default": "", "no_log": True},
    "secret_id": {"type": "str", "default": "", "no_log": True},
    "secret_id_command": {"type": "list", "elements": "str", "default": []},
    "anew": {"type": "bool", "default": False},
}
HOST_SPEC: dict[str, Any] = {"request": {"type": "dict", "required": True}, **LIMITS_SPEC}
GRACE = 60.0
"""Seconds in which a host that nobody confirmed must have gone back, and answer again."""
PAUSE = 0.5
SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s"
"""Ansible's own: whoever sets others has his reasons."""
KEEPALIVE = "-o ServerAliveInterval=15 -o ServerAliveCountMax=4"
"""A connection that others share, to a host that was replaced, is noticed to be dead and not asked through again."""
CLEARING = bounded.Limits(seconds=5.0)
"""For giving up a connection."""
VARIABLE = re.compile(r"\s*\{\{\s*(\w+)\s*(?:\|\s*\w+\s*(?:\([^()]*\)\s*)?)*\}\}\s*", re.ASCII)
"""What a value is in YAML that is one variable, with filters such as its default or without."""


class HostRefused(Exception):
    """What the host program said it can't do."""


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
            raise HostRefused(answer["error"])
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


NO_WAY_IN = "no new connection to the host came through"


class Changing(HostguardAction):
    """What apply and rollback share: a transaction that is confirmed over a new connection."""

    def carry_out(
        self, request: Mapping[str, Any], arguments: Mapping[str, Any], task_vars: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The host's answer, with what became of it; an outcome of ours where the host gave none."""
        seconds, limits, command = request["options"]["confirm_within"], self.limits(arguments), self.command(task_vars)
        try:
            answer = self.ask(request, command, limits)
            if answer["outcome"] == "unconfirmed":
                answer = {**answer, **self.confirm(answer["generation"], seconds, command, limits)}
        except HostRefused as refused:
            answer = {"outcome": "refused", "error": str(refused)}
        except NoAnswer as error:
            answer = {"outcome": "no answer", "error": str(error), "watched": bool(seconds)}
        return answer

    def options(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        seconds = window(arguments["confirm_within"], self.written("confirm_within"))
        return {"confirm_within": seconds, "restart": arguments["restart"], "check": bool(self._task.check_mode)}

    def confirm(
        self, generation: int, seconds: float, command: str, limits: bounded.Limits = bounded.USUAL
    ) -> dict[str, Any]:
        """Confirm over a new connection; or see what became of the host that did not let us in again."""
        end = time.monotonic() + seconds
        if self._connection.transport == "local":
            # The host itself came in over nothing, so its own word proves nothing: somebody else must confirm.
            trouble = "applied from the host itself, and nobody confirmed over a connection of his own"
            return {
                "error": trouble,
                **self.aftermath(generation, end + GRACE, command, max(PAUSE, seconds / 60), limits),
            }
        trouble = "the time was over before anybody could confirm"
        lost = ""
        while time.monotonic() < end:
            try:
                self.new_connection()
                self.ask({"do": "confirm"}, command, limits.until(end))
                return {"outcome": "applied"}
            except (AnsibleConnectionFailure, NoAnswer) as error:
                trouble = lost = f"{NO_WAY_IN} in time: {error}"
                time.sleep(PAUSE)
            except HostRefused as refused:
                # A host that has gone back lets us in again, and has nothing that waits: that was not the trouble.
                late = str(refused).startswith(window_words.LATE)
                trouble = lost or (f"{NO_WAY_IN} within {seconds:g} s" if late else str(refused))
                break
        return {"error": trouble, **self.aftermath(generation, end + GRACE, command, limits=limits)}

    def aftermath(
        self, generation: int, end: float, command: str, pause: float = PAUSE, limits: bounded.Limits = bounded.USUAL
    ) -> dict[str, Any]:
        """What the host says of a generation that was not confirmed, once it answers and is done with it."""
        while time.monotonic() < end:
            try:
                self.new_connection()
                records = self.ask({"do": "history"}, command, limits.until(end))["records"]
            except (AnsibleConnectionFailure, HostRefused, NoAnswer):
                time.sleep(pause)
                continue
            status = next((record["status"] for record in records if record["number"] == generation), "")
            if status != store.UNCONFIRMED:
                return {"outcome": "applied" if status in (store.APPLIED, store.DONE) else status or "unknown"}
            time.sleep(pause)
        return {"outcome": "lost"}


class Apply(Changing):
    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(APPLY_SPEC)
        compiled = self.compiled(arguments)
        request = {"do": "apply", "bundle": compiled.to_apply(), "options": self.options(arguments)}
        foreseen = self.foreseen(compiled, arguments, task_vars or {}) if self._task.check_mode else []
        answer = self.carry_out(request, arguments, task_vars or {})
        egress = compiled.loaded.policy.egress
        if (
            answer["outcome"] == store.ROLLED_BACK
            and egress
            and (cut := session_cut(egress, answer.get("session", "")))
        ):
            answer = {**answer, "error": f"{answer['error']}; {cut}"}
        found = told(answer)
        return {**result, **found, "warnings": [*result.get("warnings", []), *foreseen, *warnings(found)]}

    def foreseen(self, compiled: Compiled, arguments: Mapping[str, Any], task_vars: Mapping[str, Any]) -> list[str]:
        """What a plan would say beside the changes, for check mode: one question more."""
        bundle = compiled.bundle()
        try:
            snapshot = self.ask({"do": "read", "bundle": bundle}, self.command(task_vars), self.limits(arguments))
        except HostRefused as refused:
            return [f"the connections that it would cut are not known: {one_line(refused)}"]
        plan = planned.of(compiled, Seen.of(bundle, snapshot))
        said = [f"this session would be cut: {plan.session}"] if plan.session else []
        if plan.enforcing:
            said += [f"would cut {cut.process or '?'} ({cut.account}): {cut.what}; keep it with {cut.advice}"
                     for cut in (plan.cuts or ())[:MOST_CUTS]]  # fmt: skip
        if plan.taken and plan.taken.status == "fail":
            said.append(f"sanctioned connections can't get through: {plan.taken.actual}")
        return [one_line(each) for each in said]


MOST_CUTS = 20


def warnings(result: Mapping[str, Any]) -> list[str]:
    """What somebody must still see to, where a task says applied."""
    said = [f"a restart of {one_line(unit)} is owed: it runs on with its old limits" for unit in result["owed"]]
    return [*said, *(f"named in the policy, and {one_line(reason)}" for reason in result["missing"])]


class Rollback(Changing):
    """Back to an earlier generation, confirmed as an apply is."""

    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(ROLLBACK_SPEC)
        request = {"do": "rollback", "to": arguments["to"], "options": self.options(arguments)}
        answer = self.carry_out(request, arguments, task_vars or {})
        if answer["outcome"] in ("applied", "rolled back") and "error" not in answer:
            answer = {**answer, "outcome": GONE_BACK}
        return {**result, **told(answer), "to": answer.get("to"), "undone": answer.get("undone", [])}


GONE_BACK = "gone back"
"""Where that was wanted: `rolled back` is said of a host that nobody confirmed."""


def areas_of(areas: Sequence[str] | None, run_tags: Sequence[str]) -> Sequence[str] | None:
    """The areas that a task speaks for, None for all: its own, or else those that the run's tags name."""
    if areas is not None or "hostguard" in run_tags:
        return areas
    return [area for area in AREAS if area in run_tags] or None


def told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of the host as the result of a task."""
    outcome = answer["outcome"]
    changes = answer.get("changes", [])
    result: dict[str, Any] = {
        "outcome": outcome,
        "changed": outcome in ("applied", "would change", GONE_BACK),
        "changes": changes,
        "owed": answer.get("owed", []),
        "missing": answer.get("missing", []),
        "diff": [difference(*change[:4]) for change in changes],
    }
    if "generation" in answer:
        result["generation"] = answer["generation"]
    if outcome in ("applied", "would change", "unchanged", GONE_BACK):
        owed = "".join(f"; a restart of {unit} is owed" for unit in result["owed"])
        owed += "".join(f"; {one_line(reason)}" for reason in answer.get("outlived", []))
        owed += "".join(f"; named in the policy, and {one_line(reason)}" for reason in result["missing"])
        if answer.get("unseen"):
            owed += f"; which services must still be restarted is not known: {one_line(answer['unseen'])}"
        return {**result, "msg": f"{outcome}{owed}"}
    return {**result, "failed": True, "msg": visible(words(answer))}


def difference(resource: str, field: str, have: str, want: str) -> dict[str, str]:
    """One change as ansible's diff shows it."""
    head = visible(f"{resource} {field}")
    return {
        "before_header": head,
        "after_header": head,
        "before": visible(f"{have}\n", "\n\t") if have else "",
        "after": visible(f"{want}\n", "\n\t") if want else "",
    }


class Audit(HostguardAction):
    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(POLICY_SPEC)
        compiled = self.compiled(arguments)
        bundle = compiled.bundle()
        try:
            request = {"do": "read", "bundle": bundle}
            snapshot = self.ask(request, self.command(task_vars or {}), self.limits(arguments))
        except HostRefused as refused:
            return {**result, "failed": True, "changed": False, "msg": one_line(refused)}
        name = str((task_vars or {}).get("inventory_hostname", ""))
        judged = verdict.judge(compiled, name, Seen.of(bundle, snapshot))
        host = waivers.heed(judged, compiled.loaded.policy.waivers, datetime.datetime.now(datetime.UTC).date()).report
        wrong = [r for r in host.results if r.status in ("fail", "unknown")]
        said = "; ".join(f"{r.control.id} {r.status}: {r.actual}" for r in wrong) or well(host)
        failed = any(r.decides or r.status == "unknown" for r in wrong)
        return {**result, **report_json.of_host(host), "changed": False, "failed": failed, "msg": visible(said)}


def well(host: HostReport) -> str:
    """The headline of a host on which nothing fails, and all was seen."""
    if all(result.status == "not_applicable" for result in host.results):
        return "nothing to check: no section of the policy asks for any"
    by_policy = by_the_policy([host])
    return f"nothing fails, {by_policy}" if by_policy else "all well"


class Policy(HostguardAction):
    """The policy of one host as a file, for who puts it there. Nothing goes to the host."""

    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        loaded = self.loaded(self.arguments(POLICY_FILE_SPEC))
        return {**result, "changed": False, "text": as_file(loaded)}


def as_file(loaded: load.LoadedPolicy) -> str:
    """The file itself where nothing refines it: its hash and its lines are then those that the controller knows."""
    path = Path(loaded.path)
    if path.is_file() and hashlib.sha256(raw := path.read_bytes()).hexdigest() == loaded.sha256:
        return raw.decode("utf-8")
    return yaml.safe_dump(plain(loaded.data), sort_keys=False, allow_unicode=True)


class Needing(HostguardAction):
    """What a policy's program needs on its host before an apply, and where it is to come from. Nothing goes to the
    host."""

    def source(self, arguments: Mapping[str, Any], pin: str | None, key: str) -> dict[str, str]:
        """The program's file on the controller, and what its hash must be; `pin` is what the policy's `key` says."""
        given = {name: str(arguments[name] or "") for name in ("package", "binary", "sha256")}
        if errors := list(misgiven(given, pin, self.written, key)):
            raise AnsibleActionFail("\n".join(errors))
        binary, sha256 = given["binary"], pin or given["sha256"]
        if binary:
            file = self.found(binary, "binary")
            with file.open("rb") as stream:
                have = hashlib.file_digest(stream, "sha256").hexdigest()
            if have != sha256:
                raise AnsibleActionFail(f"{self.written('binary')}: {file} has the SHA-256 {have}, expected {sha256}")
            binary = str(file)
        return {"binary": binary, "sha256": sha256}


class Gateway(Needing):
    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(PROGRAM_SPEC)
        wanted = derive(self.loaded(arguments).policy)
        needed = wanted is not None and wanted.manage
        found = {**result, "changed": False, "needed": needed}
        if wanted is None or not needed:
            return found
        groups = sorted({upstream.group for upstream in wanted.upstreams if upstream.group})
        return {**found, **self.source(arguments, wanted.sha256, "gateway.sha256"), "program": wanted.program,
                "account": wanted.account, "groups": groups}  # fmt: skip


class SecretAgent(Needing):
    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(SECRET_AGENT_SPEC)
        policy = self.loaded(arguments).policy
        agent = keys.derive(policy)
        found = {**result, "changed": False, "needed": agent is not None}
        if agent is None:
            return found
        ca = arguments["ca"]
        if ca and agent.ca is None:
            expected = "expected none: the policy has no secrets.agent.ca, which is its place"
            raise AnsibleActionFail(f"{self.written('ca')}: found {ca}, {expected}")
        accounts, groups = keys.holders(policy)
        return {**found, **self.source(arguments, agent.sha256, "secrets.agent.sha256"), "program": agent.program,
                "accounts": accounts, "groups": groups,
                "ca": agent.ca or "", "ca_file": str(self.found(ca, "ca")) if ca else ""}  # fmt: skip


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


def misgiven(given: Mapping[str, str], pin: str | None, written: Callable[[str], str], key: str) -> Iterator[str]:
    """What can't be meant of a package, a binary and its SHA-256, beside the pin that the policy has as `key`; each
    called as the user knows it."""
    package, binary, sha256 = (written(name) for name in ("package", "binary", "sha256"))
    if given["package"] and given["binary"]:
        yield f"{binary}: found a file beside {package}, expected one of the two"
    if given["sha256"] and pin:
        yield f"{sha256}: found one, expected none: the policy has {key}, which counts"
    elif given["sha256"] and not SHA256.fullmatch(given["sha256"]):
        yield f"{sha256}: found {given['sha256']!r}, expected 64 hexadecimal digits in lower case"
    elif given["binary"] and not (given["sha256"] or pin):
        yield f"{sha256}: found nothing, expected the SHA-256 of {given['binary']} (or {key} in the policy)"


SHA256 = re.compile("[0-9a-f]{64}")


class Host(HostguardAction):
    """The host program, asked what it is asked."""

    def run(self, tmp: None = None, task_vars: Mapping[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = self.arguments(HOST_SPEC)
        request = plain(arguments["request"])
        if self._task.check_mode and changes(request):
            return {**result, "skipped": True, "changed": False, "msg": "check mode: nothing was asked"}
        try:
            answer = self.ask(request, self.command(task_vars or {}), self.limits(arguments))
        except HostRefused as refused:
            return {**result, "failed": True, "changed": False, "msg": one_line(refused)}
        failed = answer.get("outcome") == "failed"
        told = {"failed": True, "msg": one_line(f"failed: {'; '.join(answer.get('trouble', []))}")} if failed else {}
        return {**result, "changed": answer.get("outcome") == "rolled back", "answer": answer, **told}


def changes(request: Mapping[str, Any]) -> bool:
    """Whether the answer may leave the host another than it was."""
    if request.get("do") in ("apply", "rollback"):
        return not request.get("options", {}).get("check", False)
    return request.get("do") == "confirm"


def window(text: str, name: str) -> float:
    """Seconds of a confirm window, 0 for none. An error calls it by this name."""
    if str(text) == "0":
        return 0.0
    try:
        return grammar.duration(str(text))
    except PydanticCustomError as error:
        raise AnsibleActionFail(f"{name}: found {text!r}, expected 0 or {error.message()}") from None


def _bytes(said: Any) -> bytes:
    """Ansible reads a host's bytes as text, and keeps what is none."""
    return str(said).encode("utf-8", "surrogateescape")


def plain(found: Any) -> Any:
    """Ansible's own kinds of text and numbers as Python's, and a date as the text that it was."""
    return json.loads(json.dumps(found, default=str))
