"""hostguard validate: check a policy, touch nothing."""

from __future__ import annotations

import typer

from hostguard.cli.policy import PolicyOption, load


def command(policy: PolicyOption = None) -> None:
    """Check a policy: every error at once, each with its line and key. Touches nothing."""
    loaded = load(policy)
    typer.echo(f"{loaded.path}: valid; it manages {', '.join(loaded.policy.sections) or 'nothing'}")
