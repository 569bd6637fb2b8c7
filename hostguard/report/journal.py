"""The audit as log lines: one for each control that fails or was not seen, and one for the whole.

Each begins with its priority as sd-daemon(3) has it, and is logfmt from there on, every text in quotes. journald cuts a
line of more than 48 KiB in two, and whatever the second half began with would count: so texts are short.
"""

from __future__ import annotations

import json

from hostguard.report.text import worst_first
from hostguard.result import Report, Result
from hostguard.status import Severity

PRIORITY = {Severity.HIGH: 3, Severity.MEDIUM: 4, Severity.LOW: 5}
SUMMARY = 6
LONGEST = 500


def render(report: Report, *, colour: bool, width: int) -> str:  # noqa: ARG001 - the signature of every format
    lines = [_line(host, result) for host, result in worst_first(report.hosts, "fail", "unknown")]
    return "".join((*lines, _summary(report)))


def _line(host: str, result: Result) -> str:
    return (
        f"<{PRIORITY[result.severity]}>host={_text(host)} control={result.control.id} status={result.status} "
        f"severity={result.severity} seen={_text(result.actual)} expected={_text(result.expected)}\n"
    )


def _summary(report: Report) -> str:
    count = " ".join(f"{status}={number}" for status, number in report.count().items())
    policy = f"policy={_text(report.policy_path)} sha256={_text(report.policy_sha256)}"
    return f"<{SUMMARY}>hosts={len(report.hosts)} {count} {policy}\n"


def _text(text: str) -> str:
    line = " ".join(text.split())
    return json.dumps(line if len(line) <= LONGEST else line[: LONGEST - 1] + "…", ensure_ascii=False)
