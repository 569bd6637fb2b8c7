"""The policy that a command works on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli.failure import CALL, Stop

if TYPE_CHECKING:
    from hostguard.policy.load import LoadedPolicy

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
    from hostguard.policy import load as loading

    try:
        loaded = loading.load(loading.find(named))
    except loading.PolicyError as error:
        count = len(error.problems)
        said = f"{count} problem{'s' if count > 1 else ''}; nothing was touched"
        raise Stop(CALL, [*map(str, error.problems), said]) from None
    for warning in loaded.warnings:
        typer.echo(f"hostguard: warning: {warning}", err=True)
    return loaded
