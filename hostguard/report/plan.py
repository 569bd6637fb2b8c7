"""The plan for a person: every difference, what can't be reached, what enforcing would cut, and what to do next."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hostguard.host.resource import Difference, Resource
from hostguard.impact import Cut
from hostguard.planned import ADD, CHANGE, REMOVE, Differences, Planned, kind_of
from hostguard.result import Result
from hostguard.seen import where
from hostguard.visible import cut, visible

MOST_LINES = 40
MOST_COMPARED = 1000
SIGN = {ADD: ("+", "green"), CHANGE: ("~", "yellow"), REMOVE: ("-", "red")}


def show(console: Console, planned: Planned, *, brief: bool = False) -> None:
    """Print one host's plan; `brief`: a line a control instead of one a difference."""
    differences(console, planned.differences, brief=brief)
    for reason in planned.unread:
        console.print(Text.assemble(("? ", "yellow"), f"could not be read: {said(reason)}"))
    _listed(
        console, planned.missing, "Named in the policy, and not on this host (the audit fails until it is):", "yellow"
    )
    _listed(console, planned.blocked, "In the way (apply refuses until it is gone):", "red")
    if planned.owed:
        console.print()
        console.print(Text.assemble(("Restarts owed", "bold yellow"), " (apply makes them with --restart): "), end="")
        console.print(Text(said(", ".join(planned.owed))))
    if planned.cuts_unknown:
        console.print()
        console.print(Text(f"The open connections could not be read: {said(planned.cuts_unknown)}"))
    elif planned.cuts is not None:
        show_cuts(console, planned.cuts, planned.enforcing, planned.session)
    if planned.taken:
        _in_the_way(console, planned.taken)
    console.print()
    console.print(summary(planned))


def summary(planned: Planned) -> str:
    if not planned.differences:
        return "No difference: this host is as the policy wants it."
    count = planned.count
    controls = len({resource["control"] for resource, _ in planned.differences})
    changes = f"{count[ADD]} to add, {count[CHANGE]} to change, {count[REMOVE]} to remove, of {controls} controls."
    total = f"{sum(count.values())} differences in {len(planned.differences)} resources"
    return f"{total}: {changes}"


def fleet(console: Console, plans: Sequence[tuple[str, Planned | str]], *, brief: bool = False) -> None:
    """Print the plans of hosts, those that are alike once, and a table of all of them."""
    alike: dict[str, list[str]] = {}
    of: dict[str, Planned | str] = {}
    for host, planned in plans:
        key = planned if isinstance(planned, str) else repr(planned.plain())
        alike.setdefault(key, []).append(host)
        of[key] = planned
    for key, hosts in alike.items():
        planned = of[key]
        together = f" ({len(hosts)} hosts alike)" if len(hosts) > 1 else ""
        console.rule(Text(visible(", ".join(hosts)) + together, "bold"), align="left", characters="─")
        if isinstance(planned, str):
            console.print(Text(f"not reached: {said(planned)}"))
        else:
            show(console, planned, brief=brief)
        console.print()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("host", "add", "change", "remove", "would be cut", ""):
        table.add_column(column, overflow="fold", justify="left" if column in ("host", "") else "right")
    for host, planned in plans:
        table.add_row(*map(Text, _row(host, planned)))
    console.print(table)


def _row(host: str, planned: Planned | str) -> tuple[str, ...]:
    if isinstance(planned, str):
        return visible(host), "", "", "", "", "not reached"
    remarks = [f"{len(planned.blocked)} in the way"] if planned.blocked else []
    remarks += [f"{len(planned.unread)} not read"] if planned.unread else []
    remarks += ["your session is cut"] if planned.session else []
    remarks += [f"{len(planned.missing)} missing"] if planned.missing else []
    numbers = (str(planned.count[name]) for name in (ADD, CHANGE, REMOVE))
    return visible(host), *numbers, str(len(planned.cuts or ())), ", ".join(remarks)


def differences(console: Console, found: Differences, *, brief: bool = False) -> None:
    """Print the differences, grouped by the control that wants them."""
    by_control: dict[str, list[tuple[Resource, Sequence[Difference]]]] = {}
    for resource, of_resource in found:
        by_control.setdefault(resource["control"], []).append((resource, of_resource))
    for control, members in by_control.items():
        if brief:
            kinds = [kind_of(each) for _, of_resource in members for each in of_resource]
            counted = ", ".join(f"{kinds.count(name)} to {name}" for name in SIGN if name in kinds)
            console.print(Text.assemble((said(control), "bold"), f": {counted}"))
            continue
        console.print(Text(said(control), "bold"))
        for resource, of_resource in members:
            for difference in of_resource:
                _difference(console, resource, difference)


def _listed(console: Console, reasons: Sequence[str], head: str, colour: str) -> None:
    if not reasons:
        return
    console.print()
    console.print(Text(head, f"bold {colour}"))
    for reason in reasons:
        console.print(Text.assemble(("  ! ", colour), said(reason)))


def _difference(console: Console, resource: Resource, difference: Difference) -> None:
    if resource.get("blocked"):
        console.print(Text.assemble(("  ! ", "red"), said(f"{where(resource)}: in the way (below)")))
        return
    head = said(f"{where(resource)} · {difference.field}")
    mark, style = SIGN[kind_of(difference)]
    first = (f"  {mark} ", style)
    if not difference.have and "\n" in difference.want and resource["kind"] == "file":
        # Rules are shown once: as the kernel's, and not again as the file that a boot loads them from.
        console.print(Text.assemble(first, f"{head}: {len(difference.want.splitlines())} lines"))
        return
    if "\n" in difference.have or "\n" in difference.want:
        console.print(Text.assemble(first, head))
        for line in changed_lines(difference.have, difference.want):
            console.print(Text("      " + said(line), {"+": "green", "-": "red"}.get(line[:1], "dim")))
        return
    have, want = said(difference.have), said(difference.want)
    shown = {"-": [(have, "red")], "+": [(want, "green")]}.get(mark, [(have, "red"), " → ", (want, "green")])
    console.print(Text.assemble(first, head, ": ", *shown))


def said(text: str) -> str:
    """A host's word in a line."""
    return visible(cut(text))


def changed_lines(have: str, want: str) -> list[str]:
    """The lines that differ, with one line around them, and no more of a long text than a person reads."""
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


def _in_the_way(console: Console, result: Result) -> None:
    """What keeps a sanctioned way from working, which an apply leaves as it is."""
    if result.status == "fail":
        console.print()
        console.print(Text("Sanctioned connections can't get through, and an apply does not change that:", "bold red"))
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
