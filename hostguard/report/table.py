"""The audit for a person at a terminal: what fails first, in full; what holds, in a line each."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hostguard.report.text import (
    Shown,
    alike,
    alike_in_all,
    by_the_policy,
    failures,
    of_change,
    of_waiver,
    shown,
    silent,
)
from hostguard.result import HostReport, Report, Result
from hostguard.status import STATUSES

MARK: dict[Shown, tuple[str, str]] = {
    "pass": ("pass", "green"),
    "fail": ("FAIL", "bold red"),
    "known": ("known", "red"),
    "unknown": ("unknown", "yellow"),
    "waived": ("waived", "cyan"),
    "not_applicable": ("n/a", "dim"),
}


def render(report: Report, *, colour: bool, width: int) -> str:
    # Colour is decided by who calls: the text may go to a file while the terminal shows colours.
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        no_color=not colour,
        color_system="standard" if colour else None,
        highlight=False,
        legacy_windows=False,
    )
    if len(report.hosts) == 1 and not silent(report.hosts[0]):
        _host(console, report.hosts[0])
    else:
        _fleet(console, report.hosts)
    for host in report.hosts:
        console.print(summary(host, report.compared))
    policy = f"Policy {escape(report.policy_path)} ({report.policy_sha256[:12]})"
    console.print(f"{policy if report.policy_path else 'Against the last apply of each host'}, {report.generated}")
    file = console.file
    assert isinstance(file, io.StringIO)  # noqa: S101 - made above
    # A log keeps the blanks that fill a table's columns.
    return "".join(f"{line.rstrip(' ')}\n" for line in file.getvalue().splitlines())


def _host(console: Console, host: HostReport) -> None:
    console.print(Text(host.host, "bold"))
    console.print(_results(host.results))
    for result in _wrong(host):
        _explained(console, result)
    _waived(console, ((host.host, result) for result in host.results))
    console.print()


def _fleet(console: Console, hosts: Sequence[HostReport]) -> None:
    """What does not hold on hosts, those that are alike once, then what it is about, once; a line for each host at the
    end."""
    explained: list[Result] = []
    for group in alike_in_all(hosts):
        wrong = _wrong(group[0])
        if not wrong:
            continue
        together = f" ({len(group)} hosts alike)" if len(group) > 1 else ""
        names = Text(", ".join(host.host for host in group) + together, "bold")
        if reason := silent(group[0]):
            console.print(Text.assemble(names, " ", ("unknown", "yellow"), f": {reason}"))
        else:
            console.print(names)
            console.print(_results(wrong))
            for result in wrong:
                for change in result.drift:
                    console.print(Text(f"  {result.control.id}: {of_change(change)}"))
            explained += wrong
        console.print()
    controls: dict[str, Result] = {}
    for result in sorted(explained, key=lambda result: result.known):
        controls.setdefault(result.control.id, result)
    for result in controls.values():
        _explained(console, result, seen=False)
    _waived(console, ((host.host, result) for host in hosts for result in host.results), named=True)
    if controls:
        console.print()


def _wrong(host: HostReport) -> list[Result]:
    """What does not hold, or was not seen; what is known comes last."""
    wrong = (result for result in host.results if result.status in ("fail", "unknown"))
    return sorted(wrong, key=lambda result: result.known)


def _results(results: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("control", no_wrap=True)
    table.add_column("seen", overflow="fold", ratio=1)
    for result in results:
        table.add_row(_mark(result), Text(result.control.id), Text(result.actual))
    return table


def _mark(result: Result) -> Text:
    return Text(*MARK[shown(result)])


def _waived(console: Console, results: Iterable[tuple[str, Result]], *, named: bool = False) -> None:
    lines = [
        Text.assemble(
            _mark(each.result),
            " ",
            (each.result.control.id, "bold"),
            f" on {', '.join(each.hosts)}" if named else "",
            f"  {of_waiver(each.result).removeprefix('waived ')}",
        )
        for each in alike(pair for pair in results if pair[1].status == "waived")
    ]
    if lines:
        console.print()
        console.print(Text("\n").join(lines))


def _explained(console: Console, result: Result, *, seen: bool = True) -> None:
    console.print()
    head = (result.control.id, "bold")
    console.print(Text.assemble(_mark(result), " ", head, f"  {result.control.title}  [{result.severity}]"))
    rows = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1, 0, 2))
    rows.add_column(no_wrap=True, style="dim")
    rows.add_column(overflow="fold", ratio=1)
    for name, said in (
        ("expected", result.expected),
        ("seen", result.actual if seen else ""),
        ("where", result.evidence if seen else ""),
        ("to do", result.remediation),
    ):
        if said:
            rows.add_row(name, Text(said))
    for change in result.drift if seen else ():
        rows.add_row("drift", Text(of_change(change)))
    console.print(rows)


def summary(host: HostReport, compared: bool) -> Text:
    count = host.count()
    parts: list[tuple[str, str]] = []
    for status in STATUSES:
        if count[status]:
            said = failures(host, compared) if status == "fail" else f"{count[status]} {status.replace('_', ' ')}"
            parts += [(said, MARK[status][1]), (", ", "")]
    by_policy = by_the_policy([host])
    return Text.assemble((host.host, "bold"), ": ", *parts[:-1], f"; {by_policy}" if by_policy else "")
