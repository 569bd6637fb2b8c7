"""The audit as JSON: the schema hostguard.audit/1 of the contract."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from hostguard.report.text import of_waiver
from hostguard.result import HostReport, Report, Result

SCHEMA = "hostguard.audit/1"


def render(report: Report, *, colour: bool, width: int) -> str:  # noqa: ARG001 - the signature of every format
    return json.dumps(plain(report), ensure_ascii=False, indent=2) + "\n"


def plain(report: Report) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "generated": report.generated,
        "policy": {"path": report.policy_path, "sha256": report.policy_sha256},
        "summary": report.count(),
        "warnings": list(report.warnings),
        "hosts": [of_host(host) for host in report.hosts],
    }


def of_host(host: HostReport) -> dict[str, Any]:
    return {"host": host.host, "summary": host.count(), "results": [_result(result) for result in host.results]}


def _result(result: Result) -> dict[str, Any]:
    control = result.control
    plain: dict[str, Any] = {
        "id": control.id,
        "area": control.area,
        "title": control.title,
        "severity": str(result.severity),
        "status": result.status,
        "expected": result.expected,
        "actual": result.actual,
        "evidence": result.evidence,
        "remediation": result.remediation,
        "references": [str(reference) for reference in result.references],
    }
    if waiver := result.waiver:
        plain["waiver"] = {"reason": waiver.reason, "by": waiver.by, "expires": waiver.expires.isoformat()}
    elif result.weakened:
        plain["waiver"] = {"reason": of_waiver(result), "by": "the policy itself"}
    if result.weakened:
        plain["weakened"] = [
            {"key": ".".join(each.key), "found": each.found, "line": each.line, "means": each.means}
            for each in result.weakened
        ]
    if result.deviations:
        plain["differences"] = [
            {name: said for name, said in asdict(each).items() if said or name in ("have", "want")}
            for each in result.deviations
        ]
    if result.preferred:
        plain["preferred"] = True
    if result.known:
        plain["baseline"] = "known"
    if result.drift:
        plain["drift"] = [{"what": each.what, "since": each.since, "by": each.by} for each in result.drift]
    return plain
