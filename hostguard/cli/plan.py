"""hostguard plan: the difference, and what enforcing would cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import host_errors
from hostguard.cli.fleet import ForksOption, InventoryOption, LimitOption, SizeOption, WithinOption
from hostguard.cli.policy import PolicyOption, load, tell_weakened

if TYPE_CHECKING:
    from hostguard.bundle import Compiled
    from hostguard.fleet.engine import Target
    from hostguard.policy.load import LoadedPolicy
    from hostguard.seen import Seen

DIFFERENT, UNSEEN = 2, 3
SOCKETS = "egress.processes/sockets"
PASSAGE = "egress.passage"
"""What no apply mends, and nobody should apply without having read."""


def command(
    policy: PolicyOption = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 0 for no difference, 2 for some.")
    ] = False,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Show the difference, and what it would cut.

    The connections and services that enforcing would cut are named by process and account.
    """
    if inventory:
        chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
        loaded = load(policy)
        tell_weakened(loaded)
        different, unseen = show_fleet(loaded, chosen)
    else:
        fleet.only_with_inventory(limit=limit, forks=forks, answer_within=answer_within, answer_size=answer_size)
        compiled, seen = look(policy)
        different, unseen = show(compiled, seen), bool(unread(seen))
    if unseen:
        raise typer.Exit(UNSEEN)
    raise typer.Exit(DIFFERENT if detailed_exitcode and different else 0)


def show_fleet(loaded: LoadedPolicy, chosen: Target) -> tuple[bool, bool]:
    """Print every host's plan; whether there is any difference, and whether anything could not be seen."""
    from hostguard.cli import screen
    from hostguard.seen import in_words_of
    from hostguard.visible import one_line

    console = screen.result()
    different = unseen = False
    for host, compiled, seen in fleet.look(loaded, chosen):
        console.rule(f"[bold]{host}", align="left", characters="─")
        if isinstance(seen, str):
            console.print(f"not reached: {one_line(seen)}", markup=False)
            unseen = True
            continue
        try:
            different |= show(compiled, seen)
            unseen |= bool(unread(seen))
        except BrokenPipeError:
            raise
        except Exception as error:  # whatever one host is, the others are shown
            console.print(f"what it says can't be shown: {in_words_of(error)}", markup=False)
            unseen = True
    return different, unseen


def look(policy: object) -> tuple[Compiled, Seen]:
    """The compiled policy, and this host as it is."""
    from pathlib import Path

    from hostguard.bundle import compile_policy
    from hostguard.cli import screen
    from hostguard.seen import Seen
    from hostguard.target import local

    assert policy is None or isinstance(policy, Path)  # noqa: S101 - typer made it
    loaded = load(policy)
    tell_weakened(loaded)
    compiled = compile_policy(loaded)
    bundle = compiled.bundle()
    with screen.progress(), host_errors():
        return compiled, Seen.of(bundle, local.read(bundle))


def unread(seen: Seen) -> list[str]:
    from hostguard.host.resource import UNREADABLE

    reasons = [
        seen.observations[r["id"]].reason
        for r in seen.resources
        if seen.observations[r["id"]].state == UNREADABLE and not r.get("blocked")
    ]
    return list(dict.fromkeys(reasons))


def session_cut(compiled: Compiled, seen: Seen) -> str:
    """Why applying this would cut the SSH session that asks for it; "" where it would not."""
    from hostguard.controls.egress import impact

    egress, said = compiled.loaded.policy.egress, seen.evidence.get(SOCKETS, {})
    return impact.session_cut(egress, said["said"]["session"]) if egress and "said" in said else ""


def show(compiled: Compiled, seen: Seen) -> bool:
    """Print the plan on stdout; whether there is any difference."""
    from hostguard import verdict
    from hostguard.cli import screen
    from hostguard.controls import CATALOGUE
    from hostguard.controls.egress import impact
    from hostguard.report import plan
    from hostguard.seen import in_words_of
    from hostguard.visible import one_line

    console = screen.result()
    differences = seen.differences()
    plan.show(console, differences, unread(seen), seen.missing())
    egress = compiled.loaded.policy.egress
    if egress and any(resource["kind"] in ("ruleset", "ipset", "frames") for resource, _ in differences):
        said = seen.evidence[SOCKETS]
        try:
            cuts, why = impact.cuts(egress, said["said"]) if "said" in said else [], said.get("unreadable", "")
        except Exception as error:  # what a host's kernel is said to have answered may be anything
            cuts, why = [], f"what the host says makes no sense: {in_words_of(error)}"
        if why:
            console.print(f"\nThe open connections could not be read: {one_line(why)}", markup=False)
        else:
            plan.show_cuts(console, cuts, egress.mode == "enforce", session_cut(compiled, seen))
    for result in verdict.judge(
        compiled, "", seen, [control for control in CATALOGUE if control.id == PASSAGE]
    ).results:
        plan.show_in_the_way(console, result)
    console.print()
    count = sum(len(found) for _, found in differences)
    if count:
        controls = len({resource["control"] for resource, _ in differences})
        console.print(f"{count} differences in {len(differences)} resources of {controls} controls.")
    else:
        console.print("No difference: this host is as the policy wants it.")
    return bool(differences)
