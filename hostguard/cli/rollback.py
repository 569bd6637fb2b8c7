"""hostguard rollback: back to an earlier generation."""

from __future__ import annotations

from typing import Annotated

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import CALL, Stop, host_errors, need_root
from hostguard.cli.fleet import ForksOption, InventoryOption, LimitOption, SizeOption, WithinOption


def command(
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", help="The generation to go back to; 0: before hostguard. Else by one."),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Restart the services that would run on with hostguard's limits.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Undo generations, newest first.

    Files, rules, kernel parameters, mounts and units go back to what they were.
    """
    from hostguard.cli import screen
    from hostguard.target import local

    target = "one generation back" if to is None else f"to generation {to}"
    if inventory:
        chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
        if not screen.agreed(f"Roll {len(fleet.hosts(chosen))} hosts back {target}?", yes):
            raise Stop(CALL, ["nothing was touched"])
        request = {"do": "rollback", "to": to, "restart": restart}
        raise typer.Exit(
            fleet.tell(chosen, request, "at generation {generation}; undone: {undone}; restarts owed: {owed}")
        )
    fleet.only_with_inventory(limit=limit, forks=forks, answer_within=answer_within, answer_size=answer_size)
    need_root("rollback")
    if not screen.agreed(f"Roll this host back {target}?", yes):
        raise Stop(CALL, ["nothing was touched"])
    with screen.progress() as progress, host_errors(CALL):
        answer = local.rollback(to, restart, progress)
    if answer["outcome"] == "failed":
        raise Stop(1, [f"generation {answer['generation']}: {trouble}" for trouble in answer["trouble"]])
    undone = ", ".join(map(str, answer["undone"])) or "none"
    when = f"at generation {answer['generation']}" if answer["generation"] else "before hostguard"
    typer.echo(f"Undone: {undone}. This host is as it was {when}.")
    for unit in answer["owed"]:
        typer.echo(f"A restart of {unit} is owed: it runs on with hostguard's limits until then.")
