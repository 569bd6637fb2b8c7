"""hostguard audit: what is, against what must be. Reads, changes nothing."""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hostguard.cli import fleet
from hostguard.cli.failure import CALL, Stop, host_errors
from hostguard.cli.fleet import ForksOption, InventoryOption, LimitOption
from hostguard.cli.policy import PolicyOption, load
from hostguard.cli.whole_file import replace

if TYPE_CHECKING:
    from datetime import date

    from hostguard.baseline import Failure
    from hostguard.policy.load import LoadedPolicy
    from hostguard.verdict import Report
    from hostguard.waivers import Waived

STDOUT = "-"
FORMATS = "table, json, junit, sarif, html, markdown or prometheus; several as F=FILE."


class Gate(enum.StrEnum):
    """hostguard.control.Severity, which costs the import of the policy's classes."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


def command(
    policy: PolicyOption = None,
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="F[=FILE]", help=FORMATS, show_default="table"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
    ] = None,
    fail_on: Annotated[
        Gate, typer.Option("--fail-on", help="Exit 1 only where a control of this severity, or a higher one, fails.")
    ] = Gate.LOW,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", metavar="FILE", help="An earlier --format json: exit 1 only for what did not fail in it."
        ),
    ] = None,
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Compare with the last apply instead of a policy: what changed, and by what."),
    ] = False,
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
    if drift and policy:
        raise Stop(CALL, ["--drift compares with what was applied last: leave --policy out"])
    failed_before = known_failures(baseline) if baseline else None
    report = drifted(inventory, limit, forks) if drift else audited(load(policy), inventory, limit, forks)

    from hostguard.control import Severity

    if failed_before is not None:
        report = compared(report, failed_before)
    for name, place in wanted:
        write(name, place, report)
    gate = Severity(fail_on)
    below = sum(not result.severity.reaches(gate) for result in report.failing())
    if below:
        typer.echo(f"hostguard: {below} {'fails' if below == 1 else 'fail'} below --fail-on {gate}", err=True)
    raise typer.Exit(report.exit(gate))


def audited(loaded: LoadedPolicy, inventory: list[str] | None, limit: str | None, forks: int | None) -> Report:
    """The policy's report, with its waivers heeded, and their warnings said on stderr."""
    import time

    from hostguard import verdict, waivers

    today = fleet.today()
    if inventory:
        hosts = fleet.audit(loaded, fleet.target(inventory, limit, forks), today)
        scope = waivers.Scope.PART if limit else waivers.Scope.FLEET
    else:
        hosts, scope = [this_host(loaded, today)], waivers.Scope.ONE
    warnings = waivers.warnings(hosts, scope, today)
    for warning in warnings:
        typer.echo(f"hostguard: warning: {warning}", err=True)
    generated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    reports = tuple(host.report for host in hosts)
    return verdict.Report(
        generated, loaded.path, loaded.sha256, reports, warnings, policy_lines=loaded.lines, folder=str(Path.cwd())
    )


def drifted(inventory: list[str] | None, limit: str | None, forks: int | None) -> Report:
    """What differs from the last applied generation of each host."""
    import time

    from hostguard import drift, verdict
    from hostguard.target import local

    answers: dict[str, dict[str, Any]]
    if inventory:
        answers = dict(sorted(fleet.ask(fleet.target(inventory, limit, forks), drift.REQUEST)))
    else:
        with host_errors():
            answers = {local.name(): local.ask(drift.REQUEST)}
    hosts, policies = [], set()
    for host, answer in answers.items():
        if "error" in answer:
            hosts.append(drift.unreached(host, answer["error"]))
            continue
        generation = answer["generation"]
        typer.echo(f"hostguard: {host}: generation {generation['number']}, {generation['created']}", err=True)
        policies.add((generation["policy"]["path"], generation["policy"]["sha256"]))
        hosts.append(drift.judge(host, answer))
    path, sha256 = policies.pop() if len(policies) == 1 else ("that each host was applied with", "")
    generated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return verdict.Report(generated, path, sha256, tuple(hosts))


def known_failures(path: Path) -> frozenset[Failure]:
    from hostguard import baseline

    try:
        return baseline.read(path.read_bytes())
    except OSError as error:
        raise Stop(CALL, [f"--baseline {path}: can't read: {error.strerror}"]) from None
    except baseline.NoBaseline as error:
        expected = "what `hostguard audit --format json` wrote"
        raise Stop(CALL, [f"--baseline {path}: {error}; expected {expected}"]) from None


def compared(report: Report, failed_before: frozenset[Failure]) -> Report:
    from hostguard import baseline

    count = baseline.mended(report, failed_before)
    if count:
        typer.echo(f"hostguard: {count} of the baseline {'are' if count > 1 else 'is'} mended; write it anew", err=True)
    return baseline.mark(report, failed_before)


def this_host(loaded: LoadedPolicy, today: date) -> Waived:
    from hostguard import verdict, waivers
    from hostguard.bundle import compile_policy
    from hostguard.cli import screen
    from hostguard.target import local

    compiled = compile_policy(loaded)
    with screen.progress(), host_errors():
        seen = verdict.Seen.of(local.read(compiled.bundle()))
    return waivers.heed(verdict.judge(compiled, local.name(), seen), loaded.policy.waivers, today)


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
        replace(Path(place), render(name, report, colour=False, width=screen.PIPE_WIDTH))
    except OSError as error:
        raise Stop(CALL, [f"{place}: can't write: {error.strerror}"]) from None
