"""Apply and rollback: a transaction that is confirmed over a new connection."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from pydantic_core import PydanticCustomError

from hostguard import planned
from hostguard.ansible.actions.task import LIMITS_SPEC, POLICY_SPEC, HostguardAction, HostRefused, NoAnswer
from hostguard.bundle import Compiled
from hostguard.host import store
from hostguard.impact import session_cut
from hostguard.outcome import words
from hostguard.policy import grammar
from hostguard.seen import Seen
from hostguard.target import bounded
from hostguard.visible import one_line, visible

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
GRACE = 60.0
"""Seconds in which a host that nobody confirmed must have gone back, and answer again."""
PAUSE = 0.5


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
                trouble = lost or (f"{NO_WAY_IN} within {seconds:g} s" if refused.late else str(refused))
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


def window(text: str, name: str) -> float:
    """Seconds of a confirm window, 0 for none. An error calls it by this name."""
    if str(text) == "0":
        return 0.0
    try:
        return grammar.duration(str(text))
    except PydanticCustomError as error:
        raise AnsibleActionFail(f"{name}: found {text!r}, expected 0 or {error.message()}") from None
