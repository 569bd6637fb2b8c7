"""The catalogue as JSON, for auditors' tools: the schema hostguard.checks/1."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hostguard.catalogue.entries import Entry

SCHEMA = "hostguard.checks/1"


def render(entries: Iterable[Entry]) -> str:
    return json.dumps(
        {"schema": SCHEMA, "controls": [_plain(entry) for entry in entries]}, ensure_ascii=False, indent=2
    )


def _plain(entry: Entry) -> dict[str, Any]:
    control = entry.control
    return {
        "id": control.id,
        "area": control.area,
        "title": control.title,
        "severity": str(control.severity),
        "fixed_by_apply": entry.fixed_by_apply,
        "kinds": list(entry.kinds),
        "rationale": control.rationale,
        "read": list(entry.read),
        "reach": list(entry.reach),
        "undo": list(entry.undo),
        "remediation": control.remediation,
        "references": [str(reference) for reference in control.references],
        "fits": {str(reference): reference.fits for reference in control.references if reference.fits},
    }
