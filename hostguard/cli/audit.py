"""hostguard audit: what is, against what must be. Reads, changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli import fleet, targets
from hostguard.cli.failure import Stop, need_one_of
from hostguard.cli.options import (
    ForksOption,
    HostsOption,
    InventoryOption,
    LimitOption,
    OutputOption,
    PolicyOption,
    SizeOption,
    SudoOption,
    WithinOption,
)
from hostguard.cli.policy import load, tell_weakened
from hostguard.report import NAMES
from hostguard.status import Exit, Severity

if TYPE_CHECKING:
    from hostguard.baseline import Baseline
    from hostguard.cli.targets import Targets
    from hostguard.policy.load import LoadedPolicy
    from hostguard.result import Report

STDOUT = "-"
FORMATS = f"{', '.join(NAMES[:-1])} or {NAMES[-1]}; several as F=FILE."


def command(
    policy: PolicyOption = None,
    format_: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="F[=FILE]", help=FORMATS, show_default="table"),
    ] = None,
    output: OutputOption = None,
    fail_on: Annotated[
        Severity,
        typer.Option("--fail-on", help="Exit 1 only if a control of this severity, or a higher one, fails."),
    ] = Severity.LOW,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="FILE",
            help="Exit 1 only for failures that are not in this earlier --format json.",
        ),
    ] = None,
    drift: Annotated[
        bool,
        typer.Option("--drift", help="Compare with the last apply instead of a policy: each change, and its cause."),
    ] = False,
    host: HostsOption = None,
    sudo: SudoOption = False,
    rootfs: Annotated[
        Path | None, typer.Option("--rootfs", metavar="DIR", help="An image that is being built, by its root's folder.")
    ] = None,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Check this host, other hosts or an image against the policy.

    Reads, changes nothing. Exit code 0: all well, 1: a control fails, 3: something could not be seen.
    """
    wanted = outputs(format_ or ["table"], output)
    looked_at = targets.chosen(inventory, host, rootfs, sudo=sudo, limit=limit, forks=forks,
                               answer_within=answer_within, answer_size=answer_size)  # fmt: skip
    if drift and policy:
        raise Stop(Exit.CALL, ["--drift compares with the last apply: leave --policy out"])
    earlier = read_baseline(baseline) if baseline else None
    report = drifted(looked_at) if drift else audited(load(policy, elsewhere=looked_at.elsewhere), looked_at)
    if earlier is not None:
        report = compared(report, earlier)
    for name, place in wanted:
        write(name, place, report)
    below = sum(not result.severity.reaches(fail_on) for result in report.failing())
    if below:
        typer.echo(f"hostguard: {below} {'fails' if below == 1 else 'fail'} below --fail-on {fail_on}", err=True)
    if preferred := report.preferred():
        typer.echo(f"hostguard: {preferred} that the policy only prefers: these do not make the exit code 1", err=True)
    unseen, how = report.wants_root(), looked_at.as_root()
    if unseen and how:
        typer.echo(f"hostguard: {unseen} that only root would see: {how}", err=True)
    raise typer.Exit(report.exit(fail_on))


def audited(loaded: LoadedPolicy, looked_at: Targets) -> Report:
    """The policy's report, with its waivers heeded, and their warnings said on stderr."""
    import time

    from hostguard import survey, waivers
    from hostguard.result import Report

    tell_weakened(loaded)
    today = fleet.today()
    hosts = survey.judged(looked_at.look(loaded), today)
    warnings = waivers.warnings(hosts, looked_at.scope(), today)
    for warning in warnings:
        typer.echo(f"hostguard: warning: {warning}", err=True)
    generated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    reports = tuple(host.report for host in hosts)
    return Report(generated, loaded.path, loaded.sha256, reports, warnings, policy_lines=loaded.lines, folder=_here())


def _here() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError:  # somebody has removed it
        return ""


def drifted(looked_at: Targets) -> Report:
    """What differs from the last applied generation of each host."""
    import time

    from hostguard import drift
    from hostguard.result import Report
    from hostguard.seen import in_words_of
    from hostguard.visible import one_line

    answers = looked_at.ask(drift.REQUEST)
    hosts, policies = [], set()
    for host, answer in answers.items():
        if "error" in answer:
            hosts.append(drift.unreached(host, answer["error"]))
            continue
        generation = answer["generation"]
        created = one_line(generation["created"])
        typer.echo(f"hostguard: {host}: generation {generation['number']}, {created}", err=True)
        policies.add((generation["policy"]["path"], generation["policy"]["sha256"]))
        try:
            hosts.append(drift.judge(host, answer))
        except Exception as error:  # whatever one host is, the others are told of
            hosts.append(drift.unreached(host, f"its answer can't be read: {in_words_of(error)}"))
    path, sha256 = policies.pop() if len(policies) == 1 else ("", "")
    generated = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Report(generated, path, sha256, tuple(hosts))


def read_baseline(path: Path) -> Baseline:
    from hostguard import baseline

    try:
        return baseline.read(path.read_bytes())
    except OSError as error:
        raise Stop(Exit.CALL, [f"--baseline {path}: can't read: {error.strerror}"]) from None
    except baseline.NoBaseline as error:
        expected = "what `hostguard audit --format json` wrote"
        raise Stop(Exit.CALL, [f"--baseline {path}: {error}; expected {expected}"]) from None


def compared(report: Report, earlier: Baseline) -> Report:
    from hostguard import baseline

    marked = baseline.mark(report, earlier)
    count = baseline.mended(marked)
    if count:
        fixed = f"{count} findings of the baseline are" if count > 1 else "1 finding of the baseline is"
        typer.echo(f"hostguard: {fixed} fixed: write a new baseline", err=True)
    return marked


def outputs(formats: list[str], output: Path | None) -> list[tuple[str, str]]:
    """Each format and where it goes. Ends the command before anything is read where the call is wrong."""

    wanted = [
        (name, place or (str(output) if output else STDOUT)) for name, _, place in (f.partition("=") for f in formats)
    ]
    for name, _ in wanted:
        need_one_of("--format", name, NAMES)
    places = [place for _, place in wanted]
    if len(set(places)) != len(places):
        raise Stop(Exit.CALL, ["several formats in one place: name a file for each, --format json=audit.json"])
    return wanted


def write(name: str, place: str, report: object) -> None:
    from hostguard.cli import screen
    from hostguard.cli.whole_file import written
    from hostguard.report import render
    from hostguard.result import Report

    assert isinstance(report, Report)  # noqa: S101 - its type is imported late
    if place == STDOUT:
        width = screen.result().width
        sys.stdout.write(render(name, report, colour=screen.colour(sys.stdout), width=width))
        return
    written(render(name, report, colour=False, width=screen.PIPE_WIDTH), Path(place))
