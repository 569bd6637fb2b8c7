"""hostguard apply: one transaction, and a way back that the host keeps by itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli import fleet, plan, waves
from hostguard.cli.called import as_root
from hostguard.cli.failure import Stop, host_errors, need_root
from hostguard.cli.options import (
    CanaryOption,
    ForksOption,
    InventoryOption,
    LimitOption,
    LogDirOption,
    MaxFailOption,
    PolicyOption,
    SerialOption,
    SizeOption,
    WithinOption,
    YesOption,
)
from hostguard.cli.policy import load, tell_weakened
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.planned import Planned


def command(
    policy: PolicyOption = None,
    yes: YesOption = False,
    confirm_within: Annotated[
        str,
        typer.Option(
            "--confirm-within",
            metavar="TIME",
            help="How long the host waits for `hostguard confirm` from a new connection before it goes back; 0: not.",
        ),
    ] = "60s",
    restart: Annotated[
        bool, typer.Option("--restart", help="Restart the services that would run on with old values.")
    ] = False,
    saved: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="Apply what `hostguard plan -o FILE` showed, or refuse."),
    ] = None,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    canary: CanaryOption = None,
    serial: SerialOption = None,
    max_fail: MaxFailOption = None,
    forks: ForksOption = None,
    log_dir: LogDirOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Apply the policy to this host, or to the hosts of an inventory.

    All of it or none of it. The host goes back by itself unless a new connection confirms in time. With -i that
    connection is made for you.
    """
    seconds = window(confirm_within)
    if inventory:
        if saved:
            raise Stop(Exit.CALL, ["--plan: for this host alone, without -i"])
        options = {"hostguard_confirm_within": confirm_within, "hostguard_restart": restart}
        chosen = fleet.target(inventory, limit, forks, fleet.limits(answer_within, answer_size))
        rollout = waves.Rollout(canary, serial, max_fail, log_dir)
        loaded = load(policy, elsewhere=True)
        tell_weakened(loaded)
        fleet.check_policies(loaded, chosen)
        if not yes:
            plan.of_fleet(loaded, chosen)
        raise typer.Exit(waves.apply(loaded, chosen, options, rollout, yes=yes))
    fleet.only_with_inventory(
        limit=limit,
        canary=canary,
        serial=serial,
        max_fail=max_fail,
        forks=forks,
        log_dir=log_dir,
        answer_within=answer_within,
        answer_size=answer_size,
    )
    need_root("apply")

    from hostguard.cli import screen
    from hostguard.target import local

    loaded = load(policy)
    tell_weakened(loaded)
    looked, found = plan.of_this_host(loaded)
    if saved:
        _must_be(saved, looked.host, loaded.sha256, found)
    if not found.differences or saved:
        # The host looks again under its lock: an unchanged host is the host's word, not ours.
        yes = True
    if found.session:
        yes = _cuts_itself(found.session, seconds, yes)
    if not screen.agreed("Apply this?", yes):
        raise Stop(Exit.CALL, ["nothing was touched"])
    options = {"confirm_within": seconds, "restart": restart, "check": False}
    with screen.progress() as progress, host_errors():
        answer = local.apply(looked.compiled.to_apply(), options, progress)
    say(answer, seconds)


def _must_be(saved: Path, host: str, sha256: str, now: Planned) -> None:
    from hostguard import planned

    try:
        planned.must_be(saved.read_bytes(), host, sha256, now)
    except OSError as error:
        raise Stop(Exit.CALL, [f"--plan {saved}: can't read: {error.strerror}"]) from None
    except planned.NotThisPlan as error:
        raise Stop(Exit.CALL, [f"--plan {saved}: {error}", "nothing was touched"]) from None


def _cuts_itself(why: str, seconds: float, yes: bool) -> bool:
    """Whether somebody has said that the session he types in may be cut."""
    from hostguard.cli import screen

    if not seconds:
        keep = "leave the confirm window on, so that this host goes back by itself"
        raise Stop(Exit.CALL, [f"it would cut this session for good: {why}; {keep}, or name the network in the policy"])
    if not yes and not screen.typed("It cuts the session that you type in. To apply it all the same", "cut me off"):
        raise Stop(Exit.CALL, ["nothing was touched"])
    return True


def window(text: str) -> float:
    from pydantic_core import PydanticCustomError

    from hostguard.policy.grammar import duration

    if text == "0":
        return 0.0
    try:
        return duration(text)
    except PydanticCustomError as error:
        raise Stop(Exit.CALL, [f"--confirm-within: found {text!r}, expected 0 or {error.message()}"]) from None


def say(answer: dict[str, object], seconds: float) -> None:
    """What became of it, and the exit code that says so."""
    from hostguard.cli import screen
    from hostguard.outcome import failure

    console = screen.result()
    outcome = answer["outcome"]
    for number in _list(answer.get("undone", [])):
        screen.remarks().print(f"Generation {number} had been cut short: it was undone first.")
    if outcome == "blocked":
        lines = [f"in the way: {reason}" for reason in _list(answer["obstacles"])]
        raise Stop(Exit.FAILED, [*lines, "nothing was touched"])
    if outcome == "failed":
        raise Stop(Exit.FAILED, failure(answer))
    if outcome == "unchanged":
        console.print("Nothing to change: this host is as the policy wants it.")
    elif outcome == "unconfirmed":
        wait(int(str(answer["generation"])), seconds, "Applied")
    if outcome != "unchanged":
        console.print(f"Applied as generation {answer['generation']}: {len(_list(answer['changes']))} changes.")
    for reason in _list(answer.get("missing", [])):
        screen.remarks().print(f"Named in the policy, and not on this host: {reason}", markup=False)
    for reason in _list(answer.get("outlived", [])):
        screen.remarks().print(f"{reason}. End it when it suits.", markup=False)
    for unit in _list(answer["owed"]):
        console.print(f"A restart of {unit} is owed: it runs on with its old limits until then.")


def _list(found: object) -> list[str]:
    assert isinstance(found, list)  # noqa: S101 - the host's own answer
    return found


def wait(generation: int, seconds: float, done: str) -> None:
    """Wait until somebody confirms or the host has gone back; the host does not depend on our waiting. `done`: what
    was done."""
    import time

    from hostguard.cli import screen
    from hostguard.host import store, window

    told = f"{done}, and kept only if confirmed within {seconds:g} s. From a NEW connection: {as_root('confirm')}"
    screen.remarks().print(told)
    try:
        with screen.progress() as progress:
            while (pending := store.pending()) is not None and pending["generation"] == generation:
                left = pending["deadline"] - window.now()
                progress(f"waiting for `hostguard confirm`: {max(0, left):.0f} s" if left > 0 else "going back")
                time.sleep(0.2)
    except KeyboardInterrupt:
        said = "no longer waiting here: the host goes back by itself unless `hostguard confirm` comes in time"
        raise Stop(Exit.FAILED, [said]) from None
    status = next((r["status"] for r in store.newest_first() if r["number"] == generation), "")
    if status not in (store.APPLIED, store.DONE):
        raise Stop(Exit.FAILED, [f"nobody confirmed: generation {generation} is {status}, the host is as before"])
    sys.stderr.flush()
