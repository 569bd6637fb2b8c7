"""hostguard history: the generations of this host."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import Stop, host_errors
from hostguard.cli.options import ForksOption, InventoryOption, LimitOption, SizeOption, WithinOption, table_or_json
from hostguard.status import Exit
from hostguard.visible import one_line

REQUEST = {"do": "history"}
SCHEMA = "hostguard.history/1"
FIELDS = ("resource", "field", "have", "want", "blocked", "restart")


def command(
    number: Annotated[
        int | None, typer.Argument(metavar="[N]", help="Show the changes of this generation.", show_default=False)
    ] = None,
    format_: Annotated[str, table_or_json(SCHEMA)] = "table",
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """List the generations of this host, or of an inventory's.

    Shows the time, the author, the policy and the outcome of each. With N: the changes of that generation on this host,
    and why it failed.
    """
    if number is not None:
        if inventory:
            raise Stop(Exit.CALL, ["the changes of a generation are shown on its own host alone: leave -i out"])
        _one(number, format_)
        return
    found = _asked(inventory, limit, forks, answer_within, answer_size)
    if format_ == "json":
        import json

        hosts = [{"host": host, **({"error": one_line(a["error"])} if "error" in a else {"generations": a["records"]})}
                 for host, a in found.items()]  # fmt: skip
        typer.echo(json.dumps({"schema": SCHEMA, "hosts": hosts}, ensure_ascii=False, indent=2))
    else:
        for host, answer in found.items():
            if inventory:
                typer.echo(f"{host}:")
            if "error" in answer:
                typer.echo(one_line(answer["error"]))
            else:
                show(answer["records"])
    raise typer.Exit(Exit.UNSEEN if any("error" in answer for answer in found.values()) else 0)


def _asked(
    inventory: list[str] | None,
    limit: str | None,
    forks: int | None,
    answer_within: str | None,
    answer_size: str | None,
) -> dict[str, dict[str, Any]]:
    """What each host answers, in the inventory's order."""
    if not inventory:
        from hostguard.target import local

        fleet.only_with_inventory(limit=limit, forks=forks, answer_within=answer_within, answer_size=answer_size)
        with host_errors():
            return {local.name(): local.ask(REQUEST)}
    chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
    found = dict(fleet.ask(chosen, REQUEST))
    return {host: found[host] for host in fleet.hosts(chosen) if host in found}


def _one(number: int, format_: str) -> None:
    """What one generation changed: its record stays on the host, since what was replaced may be anybody's."""
    from hostguard.cli import screen
    from hostguard.host import store

    with host_errors():
        records = store.records()
    record = next((each for each in records if each["number"] == number), None)
    if record is None:
        known = ", ".join(str(each["number"]) for each in records) or "none"
        raise Stop(Exit.CALL, [f"there is no generation {number} on this host; there are: {known}"])
    changes = [dict(zip(FIELDS, change, strict=False)) for change in record["changes"]]
    if format_ == "json":
        import json

        described = {key: record.get(key) for key in ("number", "created", "status", "by", "to", "error")}
        plain = {"schema": SCHEMA, **described, "changes": changes}
        typer.echo(json.dumps(plain, ensure_ascii=False, indent=2, default=str))
        return
    console = screen.result()
    console.print(f"Generation {number}, {one_line(record['created'])}, by {one_line(record['by'])}: "
                  f"{one_line(record['status'])}", markup=False)  # fmt: skip
    if record.get("error"):
        console.print(f"It failed: {one_line(record['error'])}", markup=False)
    for change in changes:
        console.print(f"  {_in_words(change)}", markup=False)


def _in_words(change: dict[str, str]) -> str:
    have, want = (_short(change.get(key, "")) for key in ("have", "want"))
    return f"{one_line(change['resource'])} · {one_line(change['field'])}: {have or 'nothing'} → {want or 'nothing'}"


def _short(text: str) -> str:
    count = len(text.splitlines())
    return one_line(text) if count < 2 else f"{count} lines"


def show(records: list[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    from hostguard.cli import screen

    if not records:
        typer.echo("No generation yet: hostguard has not changed this host.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("generation", "created", "status", "changes", "policy", "by"):
        table.add_column(column, justify="right" if column in ("generation", "changes") else "left")
    for record in records:
        policy = f"{record['policy']['path']} ({record['policy']['sha256'][:12]})"
        if record["to"] is not None:
            policy = f"rollback to generation {record['to']}" if record["to"] else "rollback to before hostguard"
        table.add_row(
            str(record["number"]),
            Text(one_line(record["created"])),
            Text(one_line(record["status"])),
            str(record["changes"]),
            Text(one_line(policy)),
            Text(one_line(record["by"])),
        )
    screen.result().print(table)
