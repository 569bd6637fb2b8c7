"""The audit for a person at a terminal: what fails first, in full; what holds, in a line each."""

from __future__ import annotations

import io
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hostguard.control import Status
from hostguard.report.text import silent
from hostguard.verdict import STATUSES, Change, HostReport, Report, Result

MARK: dict[Status, tuple[str, str]] = {
    "pass": ("pass", "green"),
    "fail": ("FAIL", "bold red"),
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
    if len(report.hosts) == 1:
        _host(console, report.hosts[0])
    else:
        _fleet(console, report.hosts)
    console.print(f"Policy {escape(report.policy_path)} ({report.policy_sha256[:12]}), {report.generated}")
    file = console.file
    assert isinstance(file, io.StringIO)  # noqa: S101 - made above
    return file.getvalue()


def _host(console: Console, host: HostReport) -> None:
    console.print(Text(host.host, "bold"))
    console.print(_results(host.results))
    for result in host.results:
        if result.status in ("fail", "unknown"):
            _explained(console, result)
    _waived(console, host)
    console.print()
    console.print(summary(host))


def _fleet(console: Console, hosts: Sequence[HostReport]) -> None:
    """What does not hold on each host, then what it is about, once; a line for each host at the end."""
    controls: dict[str, Result] = {}
    for host in hosts:
        wrong = [result for result in host.results if result.status in ("fail", "unknown")]
        if not wrong:
            continue
        if reason := silent(host):
            console.print(Text.assemble((host.host, "bold"), " ", ("unknown", "yellow"), f": {reason}"))
        else:
            console.print(Text(host.host, "bold"))
            console.print(_results(wrong))
            for result in wrong:
                for change in result.drift:
                    console.print(Text(f"  {result.control.id}: {_change(change)}"))
            controls.update({result.control.id: result for result in wrong})
        console.print()
    for result in controls.values():
        _explained(console, result, seen=False)
    for host in hosts:
        _waived(console, host, named=True)
    if controls:
        console.print()
    for host in hosts:
        console.print(summary(host))


def _results(results: Sequence[Result]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    table.add_column("", no_wrap=True)
    table.add_column("control", no_wrap=True)
    table.add_column("seen", overflow="fold", ratio=1)
    for result in results:
        table.add_row(_mark(result), Text(result.control.id), Text(result.actual))
    return table


def _mark(result: Result) -> Text:
    word, style = ("known", "red") if result.known else MARK[result.status]
    return Text(word, style)


def _waived(console: Console, host: HostReport, *, named: bool = False) -> None:
    lines = [
        Text.assemble(
            _mark(result),
            " ",
            (result.control.id, "bold"),
            f" on {host.host}" if named else "",
            f"  until {result.waiver.expires} by {result.waiver.by}: {result.waiver.reason}",
        )
        for result in host.results
        if result.status == "waived" and result.waiver
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
        ("to do", result.control.remediation),
    ):
        if said:
            rows.add_row(name, Text(said))
    for change in result.drift if seen else ():
        rows.add_row("drift", Text(_change(change)))
    console.print(rows)


def _change(change: Change) -> str:
    return f"{change.what} · since: {change.since or 'not known'} · by: {change.by}"


def summary(host: HostReport) -> Text:
    count = host.count()
    parts: list[tuple[str, str]] = []
    for status in STATUSES:
        if count[status]:
            style = MARK[status][1]
            known = sum(result.known for result in host.results) if status == "fail" else 0
            told = f" ({known} known)" if known else ""
            parts += [(f"{count[status]} {status.replace('_', ' ')}{told}", style), (", ", "")]
    return Text.assemble((host.host, "bold"), ": ", *parts[:-1])
