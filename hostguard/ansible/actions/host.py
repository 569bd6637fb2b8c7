"""The host program, asked what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostguard.ansible.actions.task import LIMITS_SPEC, HostguardAction, HostRefused, plain
from hostguard.visible import one_line

HOST_SPEC: dict[str, Any] = {"request": {"type": "dict", "required": True}, **LIMITS_SPEC}


class Host(HostguardAction):
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
