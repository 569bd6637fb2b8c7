"""hostguard watch: what is denied, and what fails at the gateway, as it happens."""

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
    """Show denied attempts and the gateway's failures as they happen.

    Each attempt with its account, process and destination; each failure with its provider, the accounts that may use
    it, and what it means. What is repeated is counted. On a host that observes: the attempts that enforcing would deny.
    Needs root there, and changes nothing.
    """
    duration = listening.seconds(for_)

    from hostguard.cli import screen
    from hostguard.controls.gateway.envoy.places import HOST
    from hostguard.host.kinds import xds
    from hostguard.report import watch

    writer: watch.Watcher = (
        watch.JsonLines(typer.echo) if format_ == "json" else watch.Lines(screen.result(), screen.remarks())
    )
    gateway = {"log": HOST.log, "listeners": f"{HOST.xds}/{xds.NAMES[xds.LISTENERS]}"}
    with listening.events(duration, host, sudo=sudo, gateway=gateway) as events:
        for event in events:
            writer.hear(event)
    writer.end()
    if writer.lost:
        raise typer.Exit(Exit.UNSEEN)
