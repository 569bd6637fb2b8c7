"""hostguard confirm: keep what the last apply did."""

from __future__ import annotations

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import host_errors, need_root
from hostguard.cli.options import ForksOption, InventoryOption, LimitOption, SizeOption, WithinOption
from hostguard.status import Exit

REQUEST = {"do": "confirm"}


def command(
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Keep the changes of the last apply or rollback.

    Run it from a new connection: the connection that applied proves nothing.
    """
    if inventory:
        chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
        raise typer.Exit(fleet.tell(chosen, REQUEST, "generation {generation} is kept"))
    fleet.only_with_inventory(limit=limit, forks=forks, answer_within=answer_within, answer_size=answer_size)
    need_root("confirm")

    from hostguard.target import local

    with host_errors(Exit.CALL):
        answer = local.ask(REQUEST)
    typer.echo(f"Generation {answer['generation']} is kept.")
