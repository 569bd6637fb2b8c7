"""The plan for a person: every difference, what can't be reached, and what enforcing would cut."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hostguard.controls.egress.impact import Cut
from hostguard.host.resource import Difference, Resource
from hostguard.seen import where
from hostguard.verdict import Result
from hostguard.visible import cut, visible

Differences = Sequence[tuple[Resource, Sequence[Difference]]]
MOST_LINES = 40
MOST_NEW = 8
MOST_COMPARED = 1000


def show(console: Console, differences: Differences, unread: Sequence[str], missing: Sequence[str] = ()) -> None:
    """Print the differences, grouped by the control that wants them, and what stands in the way of some."""
    by_control: dict[str, list[tuple[Resource, Sequence[Difference]]]] = {}
    for resource, found in differences:
        by_control.setdefault(resource["control"], []).append((resource, found))
    for control, members in by_control.items():
        console.print(Text(said(control), "bold"))
        for resource, found in members:
            for difference in found:
                _difference(console, resource, difference)
    for reason in unread:
        console.print(Text.assemble(("? ", "yellow"), f"could not be read: {said(reason)}"))
    if missing:
        console.print()
        console.print(Text("Named in the policy, and not on this host (the audit fails until it is):", "bold yellow"))
        for reason in missing:
            console.print(Text.assemble(("  ! ", "yellow"), said(reason)))
    blocked = sorted({d.blocked for _, found in differences for d in found if d.blocked})
    owed = sorted({d.restart for _, found in differences for d in found if d.restart})
    if blocked:
        console.print()
        console.print(Text("In the way (apply refuses until it is gone):", "bold red"))
        for reason in blocked:
            console.print(Text.assemble(("  ! ", "red"), said(reason)))
    if owed:
        console.print()
        console.print(Text.assemble(("Restarts owed", "bold yellow"), " (apply makes them with --restart): "), end="")
        console.print(Text(said(", ".join(owed))))


def _difference(console: Console, resource: Resource, difference: Difference) -> None:
    head = said(f"{where(resource)} · {difference.field}")
    if "\n" in difference.have or "\n" in difference.want:
        mark, style = ("~", "yellow") if difference.have else ("+", "green")
        console.print(Text.assemble((f"  {mark} ", style), head))
        for line in changed_lines(difference.have, difference.want):
            console.print(Text("      " + said(line), {"+": "green", "-": "red"}.get(line[:1], "dim")))
        return
    have, want = said(difference.have), said(difference.want)
    if not difference.want:
        console.print(Text.assemble(("  - ", "red"), head, ": ", (have, "red")))
    elif not difference.have:
        console.print(Text.assemble(("  + ", "green"), head, ": ", (want, "green")))
    else:
        console.print(Text.assemble(("  ~ ", "yellow"), head, ": ", (have, "red"), " → ", (want, "green")))


def said(text: str) -> str:
    """A host's word in a line."""
    return visible(cut(text))


def changed_lines(have: str, want: str) -> list[str]:
    """The lines that differ, with one line around them, and no more of a long text than a person reads."""
    if not have and len(want.splitlines()) > MOST_NEW:
        written = want.splitlines()
        return [*("+" + line for line in written[:MOST_NEW]), f"… and {len(written) - MOST_NEW} more lines"]
    before, after = have.splitlines(), want.splitlines()
    if max(len(before), len(after)) > MOST_COMPARED:
        return _only_in_one(before, after)
    lines = list(difflib.unified_diff(before, after, n=1, lineterm=""))[2:]
    shown = [line for line in lines if not line.startswith("@@")]
    if len(shown) > MOST_LINES:
        shown = [*shown[:MOST_LINES], f"… and {len(shown) - MOST_LINES} more lines"]
    return shown


def _only_in_one(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """difflib's time grows with the square of what changed: 100,000 lines of which every second differs are minutes."""
    there, wanted = frozenset(before), frozenset(after)
    gone = ["-" + line for line in before if line not in wanted]
    new = ["+" + line for line in after if line not in there]
    if not gone and not new:
        return [f"{len(before)} lines, and {len(after)} of the same in another order"]
    shown = gone[: MOST_LINES // 2] + new[: MOST_LINES // 2]
    more = len(gone) + len(new) - len(shown)
    return [*shown, f"… and {more} more lines"] if more else shown


def show_in_the_way(console: Console, result: Result) -> None:
    """What keeps a sanctioned way from working, which an apply leaves as it is."""
    if result.status == "fail":
        console.print()
        console.print(
            Text("What the policy sanctions can't get through, and an apply leaves that as it is:", "bold red")
        )
        console.print(Text.assemble(("  ! ", "red"), said(result.actual)))
    if result.status == "unknown":
        console.print(Text.assemble(("? ", "yellow"), f"could not be read: {said(result.actual)}"))


def show_cuts(console: Console, cuts: Iterable[Cut], enforcing: bool, session: str = "") -> None:
    """Print what would be cut; `session` says why the connection of whoever asks would be."""
    rows = list(cuts)
    console.print()
    if session:
        console.print(Text(f"THIS SESSION WOULD BE CUT: {session}.", "bold red"))
    if not rows:
        console.print("No open connection and no listening service would be cut.")
        return
    would = "Enforcing would cut" if enforcing else "Observed only; enforcing would cut"
    console.print(Text(f"{would}:", "bold red" if enforcing else "bold yellow"))
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("  process", "account", "what", "keep it with"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, ("  " + (row.process or "?"), row.account, row.what, row.advice)))
    console.print(table)
