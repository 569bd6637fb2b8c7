"""hostguard rollback: back to an earlier generation, as one transaction."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hostguard.cli import apply, fleet
from hostguard.cli.failure import CALL, Stop, host_errors, need_root
from hostguard.cli.fleet import ForksOption, InventoryOption, LimitOption, SizeOption, WithinOption


def command(
    to: Annotated[
        int | None,
        typer.Option("--to", metavar="N", help="The generation to go back to; 0: before hostguard. Else by one."),
    ] = None,
    confirm_within: Annotated[
        str | None,
        typer.Option(
            "--confirm-within",
            metavar="TIME",
            help="How long the host waits for `hostguard confirm` from a new connection before it undoes the rollback "
            "(60s; 0, which is not at all, where it goes back to before hostguard).",
            show_default=False,
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Restart the services that would run on with hostguard's limits.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Show what would go back, and do nothing.")] = False,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Undo generations, at one stroke.

    Files, rules, kernel parameters, mounts and units go back to what they were. As after an apply, the host itself
    undoes it unless a new connection confirms it in time.
    """
    from hostguard.cli import screen
    from hostguard.target import local

    if inventory:
        chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
        seconds = apply.window(confirm_within or "0")
        if not screen.agreed(f"Roll {len(fleet.hosts(chosen))} hosts back?", yes):
            raise Stop(CALL, ["nothing was touched"])
        options = {"confirm_within": seconds, "restart": restart, "check": check}
        request = {"do": "rollback", "to": to, "options": options}
        raise typer.Exit(fleet.tell(chosen, request, "at generation {to}; undone: {undone}; restarts owed: {owed}"))
    fleet.only_with_inventory(limit=limit, forks=forks, answer_within=answer_within, answer_size=answer_size)
    need_root("rollback")
    options = {"confirm_within": 0.0, "restart": restart, "check": True}
    with screen.progress() as progress, host_errors(CALL):
        foreseen = local.rollback(to, options, progress)
    show(foreseen)
    if check:
        return
    seconds = apply.window(confirm_within or ("60s" if foreseen["to"] else "0"))
    if not screen.agreed(f"Roll this host back {target(foreseen['to'])}?", yes):
        raise Stop(CALL, ["nothing was touched"])
    with screen.progress() as progress, host_errors(CALL):
        # To where it was shown to go, and asked about.
        answer = local.rollback(to, {**options, "confirm_within": seconds, "check": False}, progress)
    say(answer, seconds)


def target(number: int) -> str:
    return f"to generation {number}" if number else "to before hostguard"


def show(foreseen: dict[str, Any]) -> None:
    """The plan of a rollback, on stdout."""
    from hostguard.cli import screen
    from hostguard.host.resource import Difference
    from hostguard.report import plan

    console = screen.result()
    resources = {resource["id"]: resource for resource in foreseen["resources"]}
    found: dict[str, list[Difference]] = {}
    for identity, *difference in foreseen["changes"]:
        found.setdefault(identity, []).append(Difference(*difference))
    plan.show(console, [(resources[identity], differences) for identity, differences in found.items()], [])
    for number in foreseen["undone"]:
        console.print(f"Generation {number} was cut short or failed, and going back from it is the first step.")
    gone = ", ".join(map(str, foreseen["gone"])) or "none"
    console.print(f"{len(foreseen['changes'])} changes {target(foreseen['to'])}; undoes generation {gone}.")


def say(answer: dict[str, Any], seconds: float) -> None:
    """What became of it, and the exit code that says so."""
    if answer["outcome"] == "failed":
        raise Stop(1, apply.failure(answer))
    if answer["outcome"] == "unconfirmed":
        apply.wait(answer["generation"], seconds)
    undone = ", ".join(map(str, answer["undone"])) or "none"
    when = f"at generation {answer['to']}" if answer["to"] else "before hostguard"
    typer.echo(f"Undone: {undone}. This host is as it was {when}.")
    if answer["outcome"] == "unchanged" and answer["to"]:
        typer.echo("Nothing more was undone: to go back further, say how far with --to.")
    for unit in answer["owed"]:
        typer.echo(f"A restart of {unit} is owed: it runs on with hostguard's limits until then.")
