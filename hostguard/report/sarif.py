"""The audit as SARIF 2.1.0, for code scanning: a rule a control, and a result where one does not hold.

What holds, or does not apply, makes no result: GitHub opens an alert for every result, whatever its kind.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from hostguard import __version__
from hostguard.control import Control
from hostguard.controls import CATALOGUE
from hostguard.report.text import of_change, of_waiver, worst_first
from hostguard.result import Report, Result
from hostguard.status import Severity

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVEL = {Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}
# As GitHub ranks them: high from 7, medium from 4, low below.
SECURITY_SEVERITY = {Severity.HIGH: "8.0", Severity.MEDIUM: "5.5", Severity.LOW: "2.0"}
ROOT = "%SRCROOT%"
NO_POLICY = "hostguard.yml"
"""Code scanning refuses a result without a file: where there was no policy, the one that a policy mostly has."""


def render(report: Report, *, colour: bool, width: int) -> str:  # noqa: ARG001 - the signature of every format
    found = worst_first(report.hosts, "fail", "unknown", "waived")
    others = {result.control.id: result.control for _, result in found}
    rules = list({**{control.id: control for control in CATALOGUE}, **others}.values())
    index = {control.id: at for at, control in enumerate(rules)}
    place = artifact(report.policy_path or NO_POLICY, report.folder)
    run = {
        "tool": {
            "driver": {
                "name": "hostguard",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(control) for control in rules],
            }
        },
        # Code scanning takes a second run of the same tool for a newer one of it, unless their categories differ.
        "automationDetails": {"id": f"hostguard/{report.policy_path or 'applied'}/"},
        "invocations": [
            {
                "executionSuccessful": True,
                "exitCode": int(report.exit()),
                "endTimeUtc": report.generated,
                "toolExecutionNotifications": [
                    {"level": "warning", "message": _message(warning)} for warning in report.warnings
                ],
            }
        ],
        "artifacts": [{"location": place, "hashes": {"sha-256": report.policy_sha256}}] if report.policy_path else [],
        "results": [_result(report, place, host, result, index[result.control.id]) for host, result in found],
        "columnKind": "unicodeCodePoints",
        "properties": {"summary": report.count(), "hosts": [host.host for host in report.hosts]},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=1) + "\n"


def artifact(path: str, folder: str) -> dict[str, Any]:
    """A file's location: relative where it is below the folder, as code scanning wants those of a repository."""
    whole = PurePosixPath(posixpath.normpath(posixpath.join(folder, path)))
    if not whole.is_absolute():
        return {"uri": quote(str(whole)), "uriBaseId": ROOT}
    if folder and whole.is_relative_to(folder):
        return {"uri": quote(str(whole.relative_to(folder))), "uriBaseId": ROOT}
    return {"uri": "file://" + quote(str(whole))}


def _rule(control: Control) -> dict[str, Any]:
    references = [str(reference) for reference in control.references]
    text = f"{control.rationale}\n\nTo do: {control.remediation}\n\nAsked for by {'; '.join(references)}"
    listed = "\n".join(f"- {reference}" for reference in references)
    return {
        "id": control.id,
        "shortDescription": {"text": control.title},
        "fullDescription": {"text": control.rationale},
        "help": {
            "text": text,
            "markdown": f"{control.rationale}\n\n**To do:** {control.remediation}\n\n**Asked for by**\n\n{listed}",
        },
        "defaultConfiguration": {"level": LEVEL[control.severity]},
        "properties": {
            "tags": ["security", control.area],
            "precision": "very-high",
            "security-severity": SECURITY_SEVERITY[control.severity],
        },
    }


def _result(report: Report, place: dict[str, Any], host: str, result: Result, rule: int) -> dict[str, Any]:
    control = result.control
    known = result.status != "unknown"
    seen = f"expected {result.expected}, found {result.actual}" if known else f"could not be seen: {result.actual}"
    print_ = hashlib.sha256(f"{host}\0{control.id}".encode()).hexdigest()
    waived = [_suppression(result)] if result.status == "waived" else []
    ended = "" if waived else of_waiver(result)
    said = f"{host}: {control.title}: {seen}" + (f" ({ended})" if ended else "")
    return {
        "ruleId": control.id,
        "ruleIndex": rule,
        "kind": "fail" if known else "open",
        "level": LEVEL[result.severity] if known else "none",
        "message": _message("\n".join((said, *map(of_change, result.drift)))),
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": place,
                    "region": {"startLine": _line(result, report)},
                },
                "logicalLocations": [{"name": host, "fullyQualifiedName": f"{host}/{control.id}", "kind": "resource"}],
            }
        ],
        # The second is the only one that GitHub looks at: without it, hosts that share a line share an alert.
        "partialFingerprints": {"hostAndControl/v1": print_, "primaryLocationLineHash": f"{print_[:16]}:1"},
        "suppressions": waived,
        # SARIF 3.27.24: of every result, or of none.
        **({"baselineState": _state(result)} if report.compared else {}),
        "properties": {"host": host, "evidence": result.evidence, "severity": str(result.severity)},
    }


def _state(result: Result) -> str:
    """As a reader of two runs sees it, which have no result of what passes or does not apply."""
    if result.before in (None, "pass", "not_applicable"):
        return "new"
    return "unchanged" if result.before == result.status else "updated"


def _suppression(result: Result) -> dict[str, Any]:
    waiver = result.waiver
    if waiver is None:
        properties = {"by": "the policy itself"}
        return {"kind": "external", "status": "accepted", "justification": of_waiver(result), "properties": properties}
    return {
        "kind": "external",
        "status": "accepted",
        "justification": waiver.reason,
        "properties": {"by": waiver.by, "expires": waiver.expires.isoformat()},
    }


def _line(result: Result, report: Report) -> int:
    return next((each.line for each in result.weakened if each.line), None) or line_of(result.control, report)


def line_of(control: Control, report: Report) -> int:
    """The line of the policy that a control answers to: of the key of its name, else of its section, else the first."""
    key = control.id.partition(".")[2].replace("-", "_")
    paths = ((control.area, key), (control.area, f"{key}_min"), (control.area,))
    return next((report.policy_lines[path] for path in paths if path in report.policy_lines), 1)


def _message(text: str) -> dict[str, str]:
    # `[text](target)` is a link in a message, and no host gives links to who reads about it.
    return {"text": text.replace("](", "] (")}
