"""hostguard validate: check a policy, touch nothing."""

from __future__ import annotations

import typer

from hostguard.cli.fleet import today
from hostguard.cli.policy import PolicyOption, load


def command(policy: PolicyOption = None) -> None:
    """Check a policy; touches nothing.

    Every error is said at once, each with its file, line and key, what was found and what was expected.
    """
    loaded = load(policy)
    if loaded.policy.waivers:
        from hostguard import waivers

        for warning in waivers.cautions(loaded.policy.waivers, today()):
            typer.echo(f"hostguard: warning: {warning}", err=True)
    typer.echo(f"{loaded.path}: valid; it manages {', '.join(loaded.policy.sections) or 'nothing'}")
