"""The audit: the host is read once, and judged on the controller."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

from hostguard import verdict, waivers
from hostguard.ansible.actions.task import POLICY_SPEC, HostguardAction, HostRefused
from hostguard.report import json as report_json
from hostguard.report.text import by_the_policy
from hostguard.result import HostReport
from hostguard.seen import Seen
from hostguard.visible import one_line, visible


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
