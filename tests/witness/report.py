"""What an audit of a lab host says."""

from __future__ import annotations

import json
from typing import Any

from tests.lab.any_host import AnyHost


def audit(host: AnyHost) -> tuple[int, dict[str, Any]]:
    done = host.hostguard("audit", "--format", "json")
    return done.returncode, json.loads(done.stdout)


def statuses(report: dict[str, Any]) -> dict[str, str]:
    return {result["id"]: result["status"] for result in report["hosts"][0]["results"]}


def not_well(report: dict[str, Any]) -> dict[str, str]:
    return {name: status for name, status in statuses(report).items() if status not in ("pass", "not_applicable")}
