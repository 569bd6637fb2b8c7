"""hostguard learn: what an observing host reaches, as a policy."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hostguard.cli import listening
from hostguard.cli.failure import Stop
from hostguard.cli.options import ForOption, HostOption, OutputOption, PolicyOption, SudoOption
from hostguard.cli.policy import load
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.host.undisturbed import Progress
    from hostguard.observe.propose import Proposal
    from hostguard.observe.seen import Seen
    from hostguard.policy.load import LoadedPolicy


def command(
    policy: PolicyOption = None,
    for_: ForOption = None,
    output: OutputOption = None,
    host: HostOption = None,
    sudo: SudoOption = False,
) -> None:
    """Write the policy that allows what an observing host does.

    Watches it until you stop, or for a time. The policy's own lines stay as they are; each new entry says in a comment
    who did it, how often and when. Needs root there, and changes nothing. Exit code 3: packets came faster than they
    could be read.
    """
    duration = listening.seconds(for_)
    loaded = load(policy, elsewhere=True)  # its file is written anew
    if loaded.policy.egress is None:
        raise Stop(Exit.CALL, [f"{loaded.path}: the policy has no section `egress`: there is nothing to observe"])
    seen = observed(duration, host, sudo=sudo)

    from hostguard.cli.whole_file import written
    from hostguard.observe.propose import propose

    proposal = propose(loaded.policy.egress, seen)
    written(with_it(loaded, proposal), output)
    say(proposal, seen, output)
    if seen.lost:
        raise typer.Exit(Exit.UNSEEN)


def observed(duration: float | None, host: str | None, *, sudo: bool) -> Seen:
    from hostguard.cli import screen
    from hostguard.observe.seen import ASK, Seen

    seen = Seen()
    with screen.progress() as progress, listening.events(duration, host, sudo=sudo, evidence=ASK) as events:
        begun = time.monotonic()
        for event in events:
            seen.hear(event)
            if seen.mode == "enforce":
                observing = "learn from a host under `egress.mode: observe`"
                raise Stop(Exit.CALL, [f"this host enforces: `hostguard watch` shows its denied attempts; {observing}"])
            if event["is"] == "ready":
                typer.echo("hostguard: observing; Ctrl-C ends it, and the policy is written", err=True)
                if seen.no_names:
                    typer.echo(f"hostguard: warning: DNS answers can't be seen, so no names: {seen.no_names}", err=True)
            _show(progress, seen, time.monotonic() - begun, duration)
    return seen


def _show(progress: Progress, seen: Seen, since: float, duration: float | None) -> None:
    answered = sum(way.answer for way in seen.ways)
    of = f" of {duration:.0f} s" if duration else " s"
    progress(
        f"{since:.0f}{of}: {len(seen.ways) - answered} ways out that the policy does not name, {answered} callers, "
        f"{len(seen.names.seen)} addresses with a name"
    )


def with_it(loaded: LoadedPolicy, proposal: Proposal) -> str:
    """The policy's text with what was learnt; never one that would not be taken."""
    from hostguard.observe.insert import CantInsert, insert
    from hostguard.policy.load import PolicyError, parse

    try:
        text = insert(Path(loaded.path).read_text(encoding="utf-8-sig"), proposal)
        parse(text.encode(), "the policy that was learnt", folder=Path(loaded.path).parent)
    except CantInsert as error:
        raise Stop(Exit.UNSEEN, [f"{loaded.path}: {error}"]) from None
    except PolicyError as error:
        raise Stop(Exit.UNSEEN, list(map(str, error.problems))) from None
    return text


def say(proposal: Proposal, seen: Seen, output: Path | None) -> None:
    from hostguard.cli import screen

    console = screen.remarks()
    count = len(proposal.entries)
    where = f" in {output}" if output else ""
    console.print(f"{count} new entries{where}" if count else "no new entries: the policy allows all that was seen")
    for entry in proposal.entries:
        console.print(f"  + egress.{entry.section}: {entry.name}", markup=False)
    for remark in proposal.remarks:
        console.print(f"  ! not allowed: {remark}", markup=False, style="yellow")
    if seen.lost:
        console.print(f"{seen.lost} packets were not read: more came than could be told apart", style="yellow")
