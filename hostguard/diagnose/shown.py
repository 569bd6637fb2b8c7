"""A diagnosis for a person at a terminal, and for a program (hostguard.diagnosis/1)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal, TypedDict

from hostguard.diagnose.diagnosis import Diagnosis, HostDiagnosis
from hostguard.diagnose.rule import Finding
from hostguard.diagnose.rules import RULES
from hostguard.policy.document import dotted
from hostguard.visible import one_line

SCHEMA = "hostguard.diagnosis/1"
WIDEST = 100
"""Columns: a longer line nobody reads."""
INDENT = " " * 10
TITLES = {rule.id: rule.title for rule in RULES}


def wants_root(found: Diagnosis) -> bool:
    return any("root" in why or "denied" in why for host in found.hosts for _, why in host.unread)


def table(found: Diagnosis, *, width: int) -> str:
    return "\n".join(line for host in found.hosts for line in _host(host, width)) + "\n"


def _host(host: HostDiagnosis, width: int) -> Iterator[str]:
    if host.error:
        yield from _filled(f"{one_line(host.host)}: not seen: {one_line(host.error)}", width, "  ")
        return
    count = len(host.findings)
    unread = f", {len(_together(host.unread))} not read" if host.unread else ""
    yield (
        f"{one_line(host.host)}: {'nothing is' if not count else f'{count} found' if count > 1 else '1 found'}"
        f"{' found' if not count else ''}{unread}"
    )
    for rule, finding in host.findings:
        yield ""
        yield f"  {TITLES[rule]} ({rule})"
        for head, text in _rows(host, finding):
            yield from _filled(f"    {head:<6}{text}", width, INDENT)
    yield from _list("not read", _together(host.unread), width)
    yield from _list("left out", _together(host.left_out), width)
    if not count:
        yield from _list("looked at", host.looked, width)


def _together(rows: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rules of which the same is said, in one row."""
    rules: dict[str, list[str]] = {}
    for rule, why in rows:
        rules.setdefault(why, []).append(rule)
    return [(", ".join(found), why) for why, found in rules.items()]


def _rows(host: HostDiagnosis, finding: Finding) -> Iterator[tuple[str, str]]:
    yield "of", one_line(finding.subject)
    yield "seen", one_line(finding.seen)
    yield "where", one_line(finding.where)
    yield "means", one_line(finding.means)
    yield "mend", one_line(finding.mend)
    if finding.key:
        line = _line(host, finding)
        yield "key", dotted(finding.key) + (f" (line {line})" if line else "")
    if finding.unsure:
        yield "sure", f"likely: {one_line(finding.unsure)}"


def _line(host: HostDiagnosis, finding: Finding) -> int | None:
    return host.loaded.line_of(finding.key) if host.loaded and finding.key else None


def _list(head: str, rows: Sequence[tuple[str, str]], width: int) -> Iterator[str]:
    if rows:
        yield ""
        yield f"  {head}:"
        for rule, text in rows:
            yield from _filled(f"    {rule}: {one_line(text)}", width, "      ")


def _filled(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False)


class PolicyName(TypedDict):
    path: str
    sha256: str


class Key(TypedDict):
    """Where the policy decides it; `line` is that of the nearest key above it that the file has."""

    path: str
    line: int | None


class FindingSaid(TypedDict):
    rule: str
    subject: str
    seen: str
    where: str
    means: str
    mend: str
    key: Key | None
    sure: Literal["seen", "likely"]
    why: str
    concerns: list[str]


class RuleSaid(TypedDict):
    rule: str
    what: str


class HostSaid(TypedDict):
    host: str
    error: str
    findings: list[FindingSaid]
    unread: list[RuleSaid]
    looked_at: list[RuleSaid]
    left_out: list[RuleSaid]


class DiagnosisSaid(TypedDict):
    """hostguard.diagnosis/1; `since` in seconds, `generated` in RFC 3339."""

    schema: str
    generated: str
    policy: PolicyName
    about: str
    since: float
    probes: bool
    hosts: list[HostSaid]


def plain(found: Diagnosis) -> DiagnosisSaid:
    asked = found.asked
    return {
        "schema": SCHEMA,
        "generated": found.generated,
        "policy": {"path": asked.loaded.path, "sha256": asked.loaded.sha256},
        "about": asked.only,
        "since": asked.since,
        "probes": asked.probes,
        "hosts": list(map(_host_said, found.hosts)),
    }


def _host_said(host: HostDiagnosis) -> HostSaid:
    return {
        "host": one_line(host.host),
        "error": one_line(host.error),
        "findings": [_finding(host, rule, each) for rule, each in host.findings],
        "unread": _rules_said(host.unread),
        "looked_at": _rules_said(host.looked),
        "left_out": _rules_said(host.left_out),
    }


def _rules_said(rows: Sequence[tuple[str, str]]) -> list[RuleSaid]:
    return [{"rule": rule, "what": one_line(what)} for rule, what in rows]


def _finding(host: HostDiagnosis, rule: str, finding: Finding) -> FindingSaid:
    return {
        "rule": rule,
        "subject": one_line(finding.subject),
        "seen": one_line(finding.seen),
        "where": one_line(finding.where),
        "means": one_line(finding.means),
        "mend": one_line(finding.mend),
        "key": {"path": dotted(finding.key), "line": _line(host, finding)} if finding.key else None,
        "sure": finding.sure,
        "why": one_line(finding.unsure),
        "concerns": [one_line(each) for each in finding.concerns],
    }
