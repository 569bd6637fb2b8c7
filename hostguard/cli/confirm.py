"""hostguard confirm: keep what the last apply did."""

from __future__ import annotations

import typer

from hostguard.cli.failure import CALL, host_errors, need_root


def command() -> None:
    """Keep what the last apply did.

    Run it from a new connection: the one that applied proves nothing.
    """
    need_root("confirm")

    from hostguard.target import local

    with host_errors(CALL):
        answer = local.ask({"do": "confirm"})
    typer.echo(f"Generation {answer['generation']} is kept.")
