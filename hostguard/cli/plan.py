"""hostguard plan: the difference, and what enforcing would cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli import fleet, targets
from hostguard.cli.called import as_root
from hostguard.cli.options import (
    ForksOption,
    HostsOption,
    InventoryOption,
    LimitOption,
    PolicyOption,
    SizeOption,
    SudoOption,
    WithinOption,
    table_or_json,
)
from hostguard.cli.policy import load, tell_weakened
from hostguard.status import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hostguard.fleet.engine import Target
    from hostguard.planned import Planned
    from hostguard.policy.load import LoadedPolicy
    from hostguard.survey import Looked

DIFFERENT = 2  # as Terraform's -detailed-exitcode has it


def command(
    policy: PolicyOption = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 0 for no difference, 2 for some.")
    ] = False,
    brief: Annotated[bool, typer.Option("--brief", help="One line for each control, not for each difference.")] = False,
    format_: Annotated[str, table_or_json("hostguard.plan/1")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there, for `hostguard apply --plan`.")
    ] = None,
    host: HostsOption = None,
    sudo: SudoOption = False,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Show the difference, and the connections that it would cut.

    Names each connection and service that enforcing would cut, by process and account. Exit code 1: something is in
    the way, and apply would refuse; 3: something could not be read.
    """
    from hostguard import survey

    looked_at = targets.chosen(inventory, host, None, sudo=sudo, limit=limit, forks=forks,
                               answer_within=answer_within, answer_size=answer_size)  # fmt: skip
    loaded = load(policy, elsewhere=looked_at.elsewhere)
    tell_weakened(loaded)
    plans = survey.plans(looked_at.look(loaded))
    if format_ == "json" or output:
        _write(loaded, plans, output)
    else:
        _show(plans, brief=brief, alone=not inventory and not host)
    raise typer.Exit(_code(plans, detailed_exitcode))


def _code(plans: Sequence[tuple[str, Planned | str]], detailed: bool) -> int:
    seen = [plan for _, plan in plans if not isinstance(plan, str)]
    if len(seen) < len(plans) or any(plan.unread for plan in seen):
        return Exit.UNSEEN
    if any(plan.blocked for plan in seen):
        return Exit.FAILED
    return DIFFERENT if detailed and any(plan.differences for plan in seen) else 0


def _show(plans: Sequence[tuple[str, Planned | str]], *, brief: bool, alone: bool) -> None:
    from hostguard.cli import screen
    from hostguard.report import plan

    (_, first), *others = plans or [("", "no host")]
    if not alone or others or isinstance(first, str):
        plan.fleet(screen.result(), plans, brief=brief)
        return
    plan.show(screen.result(), first, brief=brief)
    if first.blocked:
        screen.result().print("An apply would refuse: something is in the way (above).")
    elif first.differences:
        screen.result().print(f"Next: {as_root('apply')}", markup=False)


def _write(loaded: LoadedPolicy, plans: Sequence[tuple[str, Planned | str]], output: Path | None) -> None:
    from hostguard import planned as plans_
    from hostguard.cli.whole_file import written

    written(plans_.render(loaded.path, loaded.sha256, plans), output)


def of_this_host(loaded: LoadedPolicy) -> tuple[Looked, Planned]:
    """This host and its plan, shown on stdout."""
    from hostguard import planned as plans
    from hostguard.cli import screen
    from hostguard.report import plan

    (looked,) = targets.ThisHost().look(loaded)
    assert not isinstance(looked.seen, str)  # noqa: S101 - this host is here
    found = plans.of(looked.compiled, looked.seen)
    plan.show(screen.result(), found)
    return looked, found


def of_fleet(loaded: LoadedPolicy, chosen: Target) -> None:
    """What an apply would do to the hosts of an inventory, shown before anybody is asked."""
    from hostguard import survey

    _show(survey.plans(fleet.look(loaded, chosen)), brief=True, alone=False)
