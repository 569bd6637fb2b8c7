"""hostguard history: the generations of this host."""

from __future__ import annotations

from typing import Any

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import UNSEEN, host_errors
from hostguard.cli.fleet import ForksOption, InventoryOption, LimitOption

REQUEST = {"do": "history"}


def command(inventory: InventoryOption = None, limit: LimitOption = None, forks: ForksOption = None) -> None:
    """List the generations of this host, or of the hosts of an inventory.

    When, by whom, which policy, and what became of each.
    """
    from hostguard.target import local

    if not inventory:
        fleet.only_with_inventory(limit=limit, forks=forks)
        with host_errors():
            show(local.ask(REQUEST)["records"])
        return
    unseen = False
    for host, answer in fleet.ask(fleet.target(inventory, limit, forks), REQUEST):
        typer.echo(f"{host}:")
        if "error" in answer:
            typer.echo(answer["error"])
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
            record["created"],
            record["status"],
            str(record["changes"]),
            Text(policy),
            Text(record["by"]),
        )
    screen.result().print(table)
