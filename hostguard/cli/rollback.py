"""hostguard rollback: back to an earlier generation, as one transaction."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from hostguard.cli import apply, fleet, waves
from hostguard.cli.failure import Stop, host_errors, need_root
from hostguard.cli.options import (
    CanaryOption,
    ForksOption,
    InventoryOption,
    LimitOption,
    LogDirOption,
    MaxFailOption,
    SerialOption,
    SizeOption,
    WithinOption,
    YesOption,
    table_or_json,
)
from hostguard.status import Exit

SCHEMA = "hostguard.rollback/1"


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
            "(60s; 0, which is not at all, where this host goes back to before hostguard).",
            show_default=False,
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Restart the services that would run on with hostguard's limits.")
    ] = False,
    yes: YesOption = False,
    check: Annotated[bool, typer.Option("--check", help="Show what would go back, and do nothing.")] = False,
    format_: Annotated[str, table_or_json(SCHEMA)] = "table",
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    canary: CanaryOption = None,
    serial: SerialOption = None,
    max_fail: MaxFailOption = None,
    forks: ForksOption = None,
    log_dir: LogDirOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Undo generations in one transaction.

    Restores files, rules, kernel parameters, mounts and units. As after an apply, the host undoes the
    rollback by itself unless a new connection confirms it in time.
    """
    from hostguard.cli import screen
    from hostguard.outcome import failure
    from hostguard.target import local

    if inventory:
        chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
        rollout = waves.Rollout(canary, serial, max_fail, log_dir)
        within = confirm_within or "60s"
        apply.window(within)
        chosen_options = {"hostguard_confirm_within": within, "hostguard_restart": restart, "hostguard_check": check}
        raise typer.Exit(waves.rollback(to, chosen, chosen_options, rollout, yes=yes or check))
    fleet.only_with_inventory(
        limit=limit,
        canary=canary,
        serial=serial,
        max_fail=max_fail,
        forks=forks,
        log_dir=log_dir,
        answer_within=answer_within,
        answer_size=answer_size,
    )
    need_root("rollback")
    options = {"confirm_within": 0.0, "restart": restart, "check": True}
    with screen.progress() as progress, host_errors(Exit.CALL):
        foreseen = local.rollback(to, options, progress)
    if format_ == "table":
        show(foreseen)
    elif check:
        typer.echo(as_json(foreseen))
    if check:
        return
    seconds = apply.window(confirm_within or ("60s" if foreseen["to"] else "0"))
    if not screen.agreed(f"Roll this host back {target(foreseen['to'])}?", yes):
        raise Stop(Exit.CALL, ["nothing was touched"])
    with screen.progress() as progress, host_errors(Exit.CALL):
        # To where it was shown to go, and asked about: the window may have ended meanwhile.
        answer = local.rollback(foreseen["to"], {**options, "confirm_within": seconds, "check": False}, progress)
    if answer["outcome"] == "failed":
        raise Stop(Exit.FAILED, failure(answer))
    if answer["outcome"] == "unconfirmed":
        apply.wait(answer["generation"], seconds, "Rolled back")
        answer = {**answer, "outcome": "rolled back"}
    if format_ == "table":
        say(answer)
    else:
        typer.echo(as_json(answer))
    if answer["unseen"]:
        raise typer.Exit(Exit.UNSEEN)


def as_json(answer: dict[str, Any]) -> str:
    """SCHEMA: the changes are [resource, field, before, after, what is in the way, restart owed]."""
    import json

    keys = ("outcome", "to", "gone", "undone", "changes", "owed", "unseen")
    said = {"schema": SCHEMA, **{key: answer[key] for key in keys if key in answer}}
    return json.dumps(said, indent=1)


def target(number: int) -> str:
    return f"to generation {number}" if number else "to before hostguard"


def show(foreseen: dict[str, Any]) -> None:
    """The plan of a rollback, on stdout."""
    from hostguard.cli import screen
    from hostguard.host.kinds import IN_THE_KERNEL
    from hostguard.host.resource import Difference
    from hostguard.report import plan

    console = screen.result()
    resources = {resource["id"]: resource for resource in foreseen["resources"]}
    found: dict[str, list[Difference]] = {}
    for identity, *difference in foreseen["changes"]:
        found.setdefault(identity, []).append(Difference(*difference))
    plan.differences(console, [(resources[identity], differences) for identity, differences in found.items()])
    document = (foreseen["policy"] or {}).get("document")
    if document and any(resources[identity]["kind"] in IN_THE_KERNEL for identity in found):
        show_cuts(document)
    for number in foreseen["undone"]:
        console.print(f"Generation {number} was cut short or failed: it is undone first.")
    gone = ", ".join(map(str, foreseen["gone"])) or "none"
    console.print(f"{len(foreseen['changes'])} changes {target(foreseen['to'])}; undoes generation {gone}.")


def show_cuts(document: dict[str, Any]) -> None:
    """What the policy that the host goes back to would cut of what is open now."""
    from hostguard import impact
    from hostguard.cli import screen
    from hostguard.host.resource import HostError
    from hostguard.policy import load
    from hostguard.report import plan
    from hostguard.target import local

    try:
        egress = load.of_variables(document, "the policy of that generation").policy.egress
        said = local.read({"resources": [], "areas": None, "evidence": impact.ASK})["evidence"]["sockets"]
    except (load.PolicyError, HostError) as error:
        screen.result().print(f"\nThe connections that it would cut are not known: {error}", markup=False)
        return
    if egress and "said" in said:
        cut = impact.session_cut(egress, said["said"]["session"])
        plan.show_cuts(screen.result(), impact.cuts(egress, said["said"]), egress.mode == "enforce", cut)


def say(answer: dict[str, Any]) -> None:
    undone = ", ".join(map(str, answer["undone"])) or "none"
    when = f"at generation {answer['to']}" if answer["to"] else "before hostguard"
    typer.echo(f"Undone: {undone}. This host is as it was {when}.")
    if answer["outcome"] == "unchanged" and answer["to"]:
        typer.echo("Nothing more was undone. To go back further, give a generation: --to N.")
    for unit in answer["owed"]:
        typer.echo(f"A restart of {unit} is owed: it runs on with hostguard's limits until then.")
    if answer["unseen"]:
        typer.echo(f"The services that must still be restarted are not known: {answer['unseen']}")
