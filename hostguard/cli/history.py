"""hostguard history: the generations of this host."""

from __future__ import annotations

import typer

from hostguard.cli.failure import host_errors


def command() -> None:
    """List the generations of this host.

    When, by whom, which policy, and what became of each.
    """
    from rich.table import Table
    from rich.text import Text

    from hostguard.cli import screen
    from hostguard.target import local

    with host_errors():
        records = local.ask({"do": "history"})["records"]
    if not records:
        typer.echo("No generation yet: hostguard has not changed this host.")
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("generation", "created", "status", "changes", "policy", "by"):
        table.add_column(column, justify="right" if column in ("generation", "changes") else "left")
    for record in records:
        policy = f"{record['policy']['path']} ({record['policy']['sha256'][:12]})"
        table.add_row(
            str(record["number"]),
            record["created"],
            record["status"],
            str(record["changes"]),
            Text(policy),
            Text(record["by"]),
        )
    screen.result().print(table)
