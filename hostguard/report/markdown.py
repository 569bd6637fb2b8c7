"""The audit as Markdown, for a comment on a pull request or a job's summary: what is wrong first, the rest folded."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hostguard.report.text import (
    FIRST,
    Shown,
    by_the_policy,
    failures,
    of_change,
    of_waiver,
    shown,
    silent,
    worst_first,
)
from hostguard.result import Report, Result

LONGEST = 65_536  # characters of a comment on GitHub
LONGEST_CELL = 240
SHARES = {"warnings": 6_000, "wrong": 26_000, "known": 6_000, "silent": 6_000, "mending": 12_000, "waivers": 7_000}
"""Characters for each part: together well below LONGEST."""
WORD: dict[Shown, str] = {
    "fail": "❌ fail",
    "known": "▫️ known",
    "unknown": "❔ unknown",
    "waived": "🕓 waived",
    "pass": "✅ pass",
    "not_applicable": "➖ n/a",
}
# Marks of Markdown and HTML, and what makes a link of plain text.
MARKS = re.compile(r"(?<=www)\.|[!#$&*+:<>?@\[\\\]^_`{|}~]", re.IGNORECASE)


def render(report: Report, *, colour: bool, width: int) -> str:  # noqa: ARG001 - the signature of every format
    wrong = worst_first((host for host in report.hosts if not silent(host)), "fail", "unknown")
    parts = [
        _head(report),
        _warnings(report),
        _wrong([(host, result) for host, result in wrong if not result.known]),
        _silent(report),
        _known([(host, result) for host, result in wrong if result.known]),
        _mending(wrong),
        _waivers(report),
    ]
    return "\n".join(part for part in parts if part)


def _head(report: Report) -> str:
    count = report.count()
    said = " · ".join(f"{WORD[status]} {count[status]}" for status in FIRST if count[status])
    hosts = f"{len(report.hosts)} host" + ("s" if len(report.hosts) != 1 else "")
    wrong = f"{failures(report, report.compared)}, {count['unknown']} unknown"
    by_policy = prose(by_the_policy(report.hosts))
    well = wrong if count["fail"] or count["unknown"] else "nothing fails" if by_policy else "all well"
    well += f", {by_policy}" if by_policy else ""
    policy = f"Policy {code(report.policy_path)} ({report.policy_sha256[:12]})"
    against = policy if report.policy_path else "Against what each host was applied with"
    return f"### hostguard: {well} on {hosts}\n\n{said}\n\n<sub>{against}, {prose(report.generated)}</sub>\n"


def _warnings(report: Report) -> str:
    lines = [f"- ⚠️ {prose(warning)}" for warning in report.warnings]
    return "\n".join((*_fitting(lines, "warnings", "- … and {} more warnings"), "")) if lines else ""


HEAD = ("|  | host | control | severity | expected | seen |", "|---|---|---|---|---|---|")


def _wrong(wrong: Sequence[tuple[str, Result]]) -> str:
    rows = [_of_result(host, result) for host, result in wrong]
    if not rows:
        return ""
    return "\n".join((*HEAD, *_fitting(rows, "wrong", "\n… and {} more that fail or are unknown."), ""))


def _known(known: Sequence[tuple[str, Result]]) -> str:
    rows = [_of_result(host, result) for host, result in known]
    return _folded(f"{len(rows)} failed in the baseline already", HEAD, rows, "known")


def _of_result(host: str, result: Result) -> str:
    seen = "<br>".join(prose(of_change(change)) for change in result.drift) or code(result.actual)
    words = (WORD[shown(result)], code(host), f"`{result.control.id}`", str(result.severity))
    return _row(*words, code(result.expected), seen)


def _silent(report: Report) -> str:
    """Hosts of which nothing was seen, a line each: not a row for every control."""
    found = [(host.host, silent(host)) for host in report.hosts]
    lines = [f"- {WORD['unknown']} {code(host)}: {code(reason)}" for host, reason in found if reason]
    return "\n".join((*_fitting(lines, "silent", "- … and {} more hosts"), "")) if lines else ""


def _mending(wrong: Sequence[tuple[str, Result]]) -> str:
    # Worst first: of a control that fails somewhere that is what is to be mended, wherever it could not be seen.
    firsts: dict[str, Result] = {}
    for _, result in wrong:
        firsts.setdefault(result.control.id, result)
    lines = [
        f"- **`{result.control.id}`** {prose(result.control.title, None)}. {prose(result.remediation, None)}"
        for result in firsts.values()
    ]
    return _folded("How to mend " + ("it" if len(lines) == 1 else "them"), [], lines, "mending")


def _waivers(report: Report) -> str:
    rows = [
        _row(WORD[result.status], code(host), f"`{result.control.id}`", prose(of_waiver(result)))
        for host, result in worst_first(report.hosts, "fail", "waived")
        if of_waiver(result)
    ]
    head = [_row("", "host", "control", "waiver"), "|---|---|---|---|"]
    return _folded(f"{len(rows)} under a waiver, or with one that has ended", head, rows, "waivers")


def _folded(summary: str, head: Sequence[str], lines: Sequence[str], part: str) -> str:
    if not lines:
        return ""
    shown = _fitting(lines, part, "\n… and {} more.")
    return "\n".join((f"<details><summary>{summary}</summary>", "", *head, *shown, "", "</details>", ""))


def _fitting(lines: Sequence[str], part: str, more: str) -> list[str]:
    """As many lines as a part has room for, and how many more there are."""
    shown: list[str] = []
    room = SHARES[part]
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            return [*shown, more.format(len(lines) - len(shown))]
        shown.append(line)
    return shown


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def code(text: str) -> str:
    """What a host said. A `<code>` of references, since a code span can't hold every text within a table."""
    return f"<code>{prose(text)}</code>" if text else ""


def prose(text: str, longest: int | None = LONGEST_CELL) -> str:
    """Text on one line in which nothing is a mark: whatever could be one is a reference, which never is."""
    line = " ".join(text.split())
    if longest and len(line) > longest:
        line = line[: longest - 1] + "…"
    return MARKS.sub(_reference, line)


def _reference(found: re.Match[str]) -> str:
    letter = found[0]
    # GitHub looks for @mentions after references were read: the comment keeps it from finding any.
    return "&#64;<!-- -->" if letter == "@" else f"&#{ord(letter)};"
