"""The audit as Markdown, for a comment on a pull request or a job's summary: what is wrong first, the rest folded."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hostguard.report.text import (
    FIRST,
    MOST_NAMES,
    Alike,
    Shown,
    alike,
    by_the_policy,
    failures,
    named,
    of_change,
    of_waiver,
    shown,
    silent,
    worst_first,
)
from hostguard.result import Report, Result

LONGEST = 65_536  # characters of a comment on GitHub
LONGEST_CELL = 240
LONGEST_NAMES = 6_000
SHARES = {"warnings": 6_000, "wrong": 19_000, "known": 6_000, "silent": 6_000, "hosts": 8_000, "mending": 12_000,
          "waivers": 6_000}  # fmt: skip
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
        _wrong(alike((host, result) for host, result in wrong if not result.known)),
        _silent(report),
        _known(alike((host, result) for host, result in wrong if result.known)),
        _hosts(report, wrong),
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
    against = policy if report.policy_path else "Against the last apply of each host"
    return f"### hostguard: {well} on {hosts}\n\n{said}\n\n<sub>{against}, {prose(report.generated)}</sub>\n"


def _warnings(report: Report) -> str:
    lines = [f"- ⚠️ {prose(warning)}" for warning in report.warnings]
    return "\n".join((*_fitting(lines, "warnings", "- … and {} more warnings"), "")) if lines else ""


HEAD = ("|  | hosts | control | severity | expected | seen |", "|---|---|---|---|---|---|")


def _wrong(wrong: Sequence[Alike]) -> str:
    if not wrong:
        return ""
    rows = _fitting(list(map(_of_alike, wrong)), "wrong", "\n… and {} more that fail or are unknown.", _weights(wrong))
    return "\n".join((*HEAD, *rows, ""))


def _known(known: Sequence[Alike]) -> str:
    summary = f"{sum(_weights(known))} failed in the baseline already"
    return _folded(summary, HEAD, list(map(_of_alike, known)), "known", _weights(known))


def _of_alike(each: Alike) -> str:
    result = each.result
    seen = "<br>".join(prose(of_change(change)) for change in result.drift) or code(result.actual)
    words = (WORD[shown(result)], _few(each.hosts), f"`{result.control.id}`", str(result.severity))
    return _row(*words, code(result.expected), seen)


def _weights(found: Sequence[Alike]) -> list[int]:
    """How many results each stands for."""
    return [len(each.hosts) for each in found]


def _few(hosts: Sequence[str]) -> str:
    """Hosts in a cell. All of many are in the part of their own."""
    return code(named(hosts)) if len(hosts) <= MOST_NAMES else f"**{len(hosts)} hosts**: {code(named(hosts))}"


def _silent(report: Report) -> str:
    """Hosts of which nothing was seen, a line a reason: not a row for every control."""
    found = _unseen(report)
    lines = [f"- {WORD['unknown']} {_few(hosts)}: {code(reason)}" for reason, hosts in found.items()]
    more = "- … and {} more hosts"
    return "\n".join((*_fitting(lines, "silent", more, list(map(len, found.values()))), "")) if lines else ""


def _unseen(report: Report) -> dict[str, list[str]]:
    """Those hosts, by the reason."""
    hosts: dict[str, list[str]] = {}
    for host in report.hosts:
        if reason := silent(host):
            hosts.setdefault(reason, []).append(host.host)
    return hosts


def _hosts(report: Report, wrong: Sequence[tuple[str, Result]]) -> str:
    """By name, the hosts that were too many for a cell: once for all that they have in common."""
    common: dict[tuple[str, ...], list[str]] = {}
    for each in (*alike(wrong), *_held(report)):
        common.setdefault(each.hosts, []).append(f"`{each.result.control.id}`")
    for reason, hosts in _unseen(report).items():
        common.setdefault(tuple(hosts), []).append(code(reason))
    lines = [
        f"- **{len(hosts)} hosts** ({', '.join(dict.fromkeys(what))}): {code(', '.join(hosts), LONGEST_NAMES)}"
        for hosts, what in common.items()
        if len(hosts) > MOST_NAMES
    ]
    return _folded("Which hosts they are", [], lines, "hosts")


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
    found = _held(report)
    rows = [
        _row(WORD[each.result.status], _few(each.hosts), f"`{each.result.control.id}`", prose(of_waiver(each.result)))
        for each in found
    ]
    head = [_row("", "hosts", "control", "waiver"), "|---|---|---|---|"]
    summary = f"{sum(_weights(found))} under a waiver, or with one that has ended"
    return _folded(summary, head, rows, "waivers", _weights(found))


def _held(report: Report) -> list[Alike]:
    """What has a waiver, in force or not."""
    return alike(pair for pair in worst_first(report.hosts, "fail", "waived") if of_waiver(pair[1]))


def _folded(
    summary: str, head: Sequence[str], lines: Sequence[str], part: str, weights: Sequence[int] | None = None
) -> str:
    if not lines:
        return ""
    shown = _fitting(lines, part, "\n… and {} more.", weights)
    return "\n".join((f"<details><summary>{summary}</summary>", "", *head, *shown, "", "</details>", ""))


def _fitting(lines: Sequence[str], part: str, more: str, weights: Sequence[int] | None = None) -> list[str]:
    """As many lines as a part has room for, and how many more there are, where each counts for as many as it weighs."""
    shown: list[str] = []
    room = SHARES[part]
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            left = len(lines) - len(shown) if weights is None else sum(weights[len(shown) :])
            return [*shown, more.format(left)]
        shown.append(line)
    return shown


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def code(text: str, longest: int = LONGEST_CELL) -> str:
    """What a host said. A `<code>` of references, since a code span can't hold every text within a table."""
    return f"<code>{prose(text, longest)}</code>" if text else ""


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
