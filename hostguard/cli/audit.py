"""hostguard audit: what is, against what must be. Reads, changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import CALL, Stop, host_errors
from hostguard.cli.fleet import ForksOption, InventoryOption, LimitOption
from hostguard.cli.policy import PolicyOption, load

if TYPE_CHECKING:
    from hostguard.policy.load import LoadedPolicy
    from hostguard.verdict import HostReport

STDOUT = "-"


def command(
    policy: PolicyOption = None,
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="F[=FILE]", help="table or json; several as F=FILE.", show_default="table"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
    ] = None,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
) -> None:
    """Check this host, or the hosts of an inventory, against the policy.

    Reads, changes nothing. Exit code 0: all well, 1: a control fails, 3: something could not be seen.
    """
    wanted = outputs(format_ or ["table"], output)
    if not inventory:
        fleet.only_with_inventory(limit=limit, forks=forks)
    loaded = load(policy)

    import time

    from hostguard import verdict

    hosts = fleet.audit(loaded, fleet.target(inventory, limit, forks)) if inventory else [this_host(loaded)]
    generated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    report = verdict.Report(generated, loaded.path, loaded.sha256, tuple(hosts))
    for name, place in wanted:
        write(name, place, report)
    raise typer.Exit(report.exit())


def this_host(loaded: LoadedPolicy) -> HostReport:
    from hostguard import verdict
    from hostguard.bundle import compile_policy
    from hostguard.cli import screen
    from hostguard.target import local

    compiled = compile_policy(loaded)
    with screen.progress(), host_errors():
        seen = verdict.Seen.of(local.read(compiled.bundle()))
    return verdict.judge(compiled, local.name(), seen)


def outputs(formats: list[str], output: Path | None) -> list[tuple[str, str]]:
    """Each format and where it goes. Ends the command before anything is read where the call is wrong."""
    from hostguard.report import NAMES

    wanted = [
        (name, place or (str(output) if output else STDOUT)) for name, _, place in (f.partition("=") for f in formats)
    ]
    for name, _ in wanted:
        if name not in NAMES:
            raise Stop(CALL, [f"--format: found {name!r}, expected one of {', '.join(NAMES)}"])
    places = [place for _, place in wanted]
    if len(set(places)) != len(places):
        raise Stop(CALL, ["several formats in one place: name a file for each, --format json=audit.json"])
    return wanted


def write(name: str, place: str, report: object) -> None:
    from hostguard.cli import screen
    from hostguard.report import render
    from hostguard.verdict import Report

    assert isinstance(report, Report)  # noqa: S101 - its type is imported late
    if place == STDOUT:
        width = screen.result().width
        sys.stdout.write(render(name, report, colour=screen.colour(sys.stdout), width=width))
        return
    try:
        Path(place).write_text(render(name, report, colour=False, width=screen.PIPE_WIDTH), encoding="utf-8")
    except OSError as error:
        raise Stop(CALL, [f"{place}: can't write: {error.strerror}"]) from None
