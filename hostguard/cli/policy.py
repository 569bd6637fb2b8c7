"""The policy that a command works on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli.failure import CALL, Stop

if TYPE_CHECKING:
    from hostguard.policy.load import LoadedPolicy, Problem

PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="FILE",
        help="The policy file; else ./hostguard.yml, else /etc/hostguard/policy.yml.",
        show_default=False,
    ),
]


def load(named: Path | None) -> LoadedPolicy:
    """The policy, its warnings said on stderr. Every problem is said at once, and ends the command."""
    from hostguard.policy.load import PolicyError

    try:
        return look(named)
    except PolicyError as error:
        raise wrong(error.problems) from None


def wrong(problems: Sequence[Problem]) -> Stop:
    count = len(problems)
    return Stop(CALL, [*map(str, problems), f"{count} problem{'s' if count > 1 else ''}; nothing was touched"])


def look(named: Path | None) -> LoadedPolicy:
    """The policy, its warnings said on stderr. Raises PolicyError."""
    from hostguard.policy import load as loading

    loaded = loading.load(loading.find(named))
    for warning in loaded.warnings:
        typer.echo(f"hostguard: warning: {warning}", err=True)
    return loaded
