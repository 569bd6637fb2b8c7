"""hostguard history: the generations of this host."""

from __future__ import annotations

from typing import Any

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import UNSEEN, host_errors
from hostguard.cli.fleet import ForksOption, InventoryOption, LimitOption, SizeOption, WithinOption
from hostguard.visible import one_line

REQUEST = {"do": "history"}


def command(
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """List the generations of this host, or of the hosts of an inventory.

    When, by whom, which policy, and what became of each.
    """
    from hostguard.target import local

    if not inventory:
        fleet.only_with_inventory(limit=limit, forks=forks, answer_within=answer_within, answer_size=answer_size)
        with host_errors():
            show(local.ask(REQUEST)["records"])
        return
    unseen = False
    chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
    for host, answer in fleet.ask(chosen, REQUEST):
        typer.echo(f"{host}:")
        if "error" in answer:
            typer.echo(one_line(answer["error"]))
            unseen = True
        else:
            show(answer["records"])
    raise typer.Exit(UNSEEN if unseen else 0)


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
