"""hostguard validate: check policies, touch nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli.fleet import today
from hostguard.cli.policy import PolicyOption, look, tell_weakened, wrong

if TYPE_CHECKING:
    from hostguard.policy.load import LoadedPolicy, Problem


def command(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="Policy files, as --policy.", show_default=False)
    ] = None,
    policy: PolicyOption = None,
) -> None:
    """Check policies; touches nothing.

    Every error of every file is said at once, each with its line and key, what was found and what was expected.
    """
    from hostguard.policy.load import PolicyError

    problems: list[Problem] = []
    for named in (*(files or ()), *([policy] if policy else ())) or (None,):
        try:
            _told(look(named))
        except PolicyError as error:
            problems += error.problems
    if problems:
        raise wrong(problems)


def _told(loaded: LoadedPolicy) -> None:
    if loaded.policy.waivers:
        from hostguard import waivers

        for warning in waivers.cautions(loaded.policy.waivers, today()):
            typer.echo(f"hostguard: warning: {loaded.path}: {warning}", err=True)
    tell_weakened(loaded)
    typer.echo(f"{loaded.path}: valid; it manages {', '.join(loaded.policy.sections) or 'nothing'}")
