"""hostguard validate: check a policy, touch nothing."""

from __future__ import annotations

import typer

from hostguard.cli.policy import PolicyOption, load


def command(policy: PolicyOption = None) -> None:
    """Check a policy; touches nothing.

    Every error is said at once, each with its file, line and key, what was found and what was expected.
    """
    loaded = load(policy)
    typer.echo(f"{loaded.path}: valid; it manages {', '.join(loaded.policy.sections) or 'nothing'}")
