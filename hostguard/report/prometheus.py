"""The audit as metrics, for the textfile collector of Prometheus' node exporter.

A baseline and what drifted are not in it: as labels they would make other series of the same controls.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from hostguard.result import Report

Sample = tuple[dict[str, str], int]
DAY = datetime.timedelta(days=1)


def render(report: Report, *, colour: bool, width: int) -> str:  # noqa: ARG001 - the signature of every format
    results = [(host.host, result) for host in report.hosts for result in host.results]
    generated = int(datetime.datetime.fromisoformat(report.generated).timestamp())
    return "".join(
        (
            _metric(
                "control",
                "A control on a host, with its verdict as a label; always 1.",
                (
                    (
                        {
                            "host": host,
                            "control": result.control.id,
                            "area": result.control.area,
                            "severity": str(result.severity),
                            "status": result.status,
                        },
                        1,
                    )
                    for host, result in results
                ),
            ),
            _metric(
                "controls",
                "Controls of a host by their verdict.",
                (
                    ({"host": host.host, "status": status}, number)
                    for host in report.hosts
                    for status, number in host.count().items()
                ),
            ),
            _metric(
                "audit_timestamp_seconds",
                "When the host was audited.",
                (({"host": host.host}, generated) for host in report.hosts),
            ),
            _metric(
                "policy_info",
                "The policy that the audit was against; always 1.",
                [({"path": report.policy_path, "sha256": report.policy_sha256}, 1)] if report.policy_path else [],
            ),
            _metric(
                "waiver_expiry_timestamp_seconds",
                "The end of the last day of a control's waiver, UTC.",
                (
                    ({"host": host, "control": result.control.id}, end_of(result.waiver.expires))
                    for host, result in results
                    if result.waiver
                ),
            ),
        )
    )


def end_of(day: datetime.date) -> int:
    return int(datetime.datetime.combine(day + DAY, datetime.time.min, datetime.UTC).timestamp())


def _metric(name: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"hostguard_{name}{{{_labels(labels)}}} {number}\n" for labels, number in samples]
    if not lines:
        return ""
    return f"# HELP hostguard_{name} {text}\n# TYPE hostguard_{name} gauge\n" + "".join(lines)


def _labels(labels: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(value: str) -> str:
    # No newline: names stand on one line.
    return value.replace("\\", "\\\\").replace('"', '\\"')
