"""What a proof found, for programs: `hostguard.proof/1`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

STATUSES = ("held", "out", "unknown", "absent")


def render(hosts: Mapping[str, Sequence[Mapping[str, Any]]], kept_back: Mapping[str, str]) -> str:
    """`kept_back`: ways that are not tried on a host in service, and why."""
    described = [{"host": name, "summary": summary(results), "results": results} for name, results in hosts.items()]
    plain = {"schema": "hostguard.proof/1", "hosts": described, "kept_back": kept_back}
    return json.dumps(plain, indent=2)


def summary(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = Counter(str(result["status"]) for result in results)
    return {status: found[status] for status in STATUSES}
