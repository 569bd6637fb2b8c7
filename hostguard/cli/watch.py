"""hostguard watch: what is denied, as it happens."""

from __future__ import annotations

from typing import Annotated

import typer

from hostguard.cli import listening
from hostguard.cli.options import ForOption, HostOption, SudoOption, formats
from hostguard.status import Exit


def command(
    format_: Annotated[str, formats("text", "json", says=", a line each")] = "text",
    for_: ForOption = None,
    host: HostOption = None,
    sudo: SudoOption = False,
) -> None:
    """Show denied attempts as they happen.

    Each with its account, process and destination; repeated attempts are counted. On a host that observes: the attempts
    that enforcing would deny. Needs root there, and changes nothing.
    """
    duration = listening.seconds(for_)

    from hostguard.cli import screen
    from hostguard.report import watch

    writer: watch.Watcher = (
        watch.JsonLines(typer.echo) if format_ == "json" else watch.Lines(screen.result(), screen.remarks())
    )
    with listening.events(duration, host, sudo=sudo) as events:
        for event in events:
            writer.hear(event)
    writer.end()
    if writer.lost:
        raise typer.Exit(Exit.UNSEEN)
