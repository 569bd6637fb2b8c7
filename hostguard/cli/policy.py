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


def tell_weakened(loaded: LoadedPolicy) -> None:
    """Say on stderr what in the policy keeps a control from passing, a line for each value."""
    from hostguard.bundle import compile_policy
    from hostguard.control import Weakening
    from hostguard.controls import CATALOGUE

    compiled = compile_policy(loaded)
    waived: dict[Weakening, list[str]] = {}
    for control in CATALOGUE:
        if control.area in loaded.policy.sections:
            for weakening in compiled.weakened(control):
                waived.setdefault(weakening, []).append(control.id)
    for weakening, controls in waived.items():
        where = f"{loaded.path}:{weakening.line}" if weakening.line else loaded.path
        what = controls[0] if len(controls) == 1 else f"{len(controls)} controls ({controls[0]} and others)"
        said = f"{where}: {weakening}: {weakening.means}; the audit says waived of {what}"
        typer.echo(f"hostguard: warning: {said}", err=True)
