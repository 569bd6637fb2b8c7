"""hostguard apply -i and rollback -i: wave after wave, with a log a host and the state of each at the end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hostguard.cli import fleet as hosts
from hostguard.cli.failure import Stop
from hostguard.status import Exit
from hostguard.visible import one_line

if TYPE_CHECKING:
    from hostguard.fleet.engine import Event, Target
    from hostguard.fleet.rollout import Fleet
    from hostguard.policy.load import LoadedPolicy
    from hostguard.result import HostReport
    from hostguard.target.bounded import Limits


class Log:
    """What each host said, a file a host, for whoever must look into it afterwards."""

    def __init__(self, folder: Path | None) -> None:
        import time

        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        self.folder = folder or state / "hostguard/runs" / time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Stop(Exit.CALL, [f"--log-dir {self.folder}: {error.strerror}; nothing was touched"]) from None

    def write(self, event: Event) -> None:
        import json

        path = self.folder / f"{event.host.replace('/', '_')}.json"
        path.write_text(json.dumps({"status": event.status, **event.result}, indent=1) + "\n", encoding="utf-8")


def state_of(event: Event) -> tuple[str, str]:
    """A host's state after an apply, and what is to be said of it."""
    from hostguard.fleet.rollout import UNREACHABLE

    message = hosts.message_of(event)
    if event.status == "unreachable":
        return UNREACHABLE, message
    return one_line(event.result.get("outcome", "failed")), message


@dataclass(frozen=True)
class Rollout:
    """Who comes when, in the words of the options; None or 0 where nothing is said."""

    canary: int | None = None
    serial: str | None = None
    max_fail: str | None = None
    log_dir: Path | None = None


def apply(loaded: LoadedPolicy, chosen: Target, options: Mapping[str, Any], rollout: Rollout, *, yes: bool) -> int:
    """Apply wave by wave, each canary audited before anybody follows; the exit code."""
    variables = {"hostguard_policy_file": str(Path(loaded.path).resolve()), **options}
    canaries = Canaries(loaded, chosen)
    return _roll("apply", f"Apply {loaded.path} to", chosen, variables, rollout, yes=yes, canaries=canaries)


def rollback(to: int | None, chosen: Target, options: Mapping[str, Any], rollout: Rollout, *, yes: bool) -> int:
    """Roll back wave by wave; the exit code."""
    question = "Roll back, by one," if to is None else f"Roll back to generation {to}"
    return _roll("rollback", question, chosen, {"hostguard_to": to, **options}, rollout, yes=yes)


def _roll(
    play: str,
    question: str,
    chosen: Target,
    variables: Mapping[str, Any],
    how: Rollout,
    *,
    yes: bool,
    canaries: Canaries | None = None,
) -> int:
    from hostguard.cli import screen
    from hostguard.fleet import engine, rollout

    try:
        step = rollout.share(how.serial) if how.serial else None
        budget = rollout.share(how.max_fail or "0")
    except ValueError as error:
        raise Stop(Exit.CALL, [f"--serial, --max-fail: {error}"]) from None
    names = hosts.hosts(chosen)
    if not screen.agreed(f"{question} {len(names)} hosts?", yes):
        raise Stop(Exit.CALL, ["nothing was touched"])
    log = Log(how.log_dir)
    fleet = rollout.Fleet(tuple(names), budget.of(len(names)))
    said: dict[str, Event] = {}
    planned = rollout.waves(names, how.canary or 0, step)
    variables = {**variables, **_limits(chosen.limits, str(variables["hostguard_confirm_within"]))}
    stopped = ""
    for number, wave in enumerate(planned, 1):
        if len(planned) > 1:
            kind = "canaries" if wave.canary else "hosts"
            screen.remarks().print(f"Wave {number} of {len(planned)}: {len(wave.hosts)} {kind}")
        judged = canaries if wave.canary and number < len(planned) else None
        if judged:
            judged.look(wave.hosts)
        for event in hosts.watched(engine.play(play, chosen, variables, wave.hosts)):
            if event.status == "hosts":
                continue
            state, message = state_of(event)
            fleet.states[event.host], said[event.host] = state, event
            log.write(event)
            screen.remarks().print(f"{event.host}: {message or state}", markup=False)
        stopped = fleet.stop(wave)
        if not stopped and judged:
            stopped = judged.worse()
        if stopped:
            break
    show(fleet, said, stopped, log)
    if stopped or fleet.failed():
        return Exit.FAILED
    return Exit.UNSEEN if fleet.count()[rollout.UNREACHABLE] else 0


ROUNDS = 3
"""Questions of an apply that may each take all of their time: to apply, to confirm, and what became of it."""
MORE = 300
"""Seconds for all else of an apply: a host that goes back, say."""


def _limits(limits: Limits, confirm_within: str) -> dict[str, Any]:
    """For the playbook. The task ends after them all even where a plugin of ansible's does not."""
    from hostguard.policy.grammar import duration

    window = duration(confirm_within) if confirm_within != "0" else 0.0
    return {
        "hostguard_answer_within": f"{limits.seconds:.0f}s",
        "hostguard_answer_size": f"{limits.size >> 10}K",
        "hostguard_task_timeout": int(ROUNDS * limits.seconds + window) + MORE,
    }


class Canaries:
    """The hosts of the first wave, before and after: what they failed before keeps nobody from following."""

    def __init__(self, loaded: LoadedPolicy, chosen: Target) -> None:
        self.loaded, self.chosen = loaded, chosen
        self.before: list[HostReport] = []

    def look(self, names: Sequence[str]) -> None:
        self.before = self._audit(names, "before")

    def worse(self) -> str:
        """Why nobody may follow them; "" where nothing is worse. A restart that is owed is no reason."""
        from hostguard.baseline import worse

        after = self._audit([report.host for report in self.before], "after")
        bad = [(host, r) for host, r in worse(self.before, after) if not r.owed]
        said = "; ".join(f"{host}: {r.control.id} {r.status} ({one_line(r.actual)})" for host, r in bad)
        return f"a canary is worse than before: {said}" if bad else ""

    def _audit(self, names: Sequence[str], when: str) -> list[HostReport]:
        from hostguard import survey
        from hostguard.cli import screen

        screen.remarks().print(f"Auditing the canaries, {when} the apply")
        judged = survey.judged(hosts.look(self.loaded, self.chosen, names), hosts.today())
        return [host.report for host in judged]


STYLE = {"applied": "green", "gone back": "green", "unchanged": "green", "unreachable": "yellow", "not begun": "yellow"}


def show(fleet: Fleet, said: Mapping[str, Event], stopped: str, log: Log) -> None:
    """The state of every host on stdout: those that need somebody first."""
    from rich.table import Table
    from rich.text import Text

    from hostguard.cli import screen
    from hostguard.fleet.rollout import WELL

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("host", "state", "generation", "changes", ""):
        table.add_column(column, overflow="fold", justify="right" if column in ("generation", "changes") else "left")
    for host in sorted(fleet.hosts, key=lambda host: fleet.state(host) in WELL):
        state = fleet.state(host)
        result = said[host].result if host in said else {}
        message = hosts.message_of(said[host]) if host in said and state not in WELL else ""
        units = ", ".join(map(str, result.get("owed", [])))
        remarks = [f"a restart of {units} is owed"] if units else []
        remarks += map(str, result.get("missing", []))
        table.add_row(
            Text(host),
            Text(state, STYLE.get(state, "bold red")),
            str(result.get("generation", "")),
            str(len(result["changes"])) if result.get("changes") else "",
            Text(message or one_line("; ".join(remarks))),
        )
    console = screen.result()
    console.print(table)
    console.print()
    if stopped:
        console.print(Text.assemble(("Stopped: ", "bold red"), stopped))
    counts = ", ".join(f"{count} {state}" for state, count in fleet.count().most_common())
    console.print(f"{len(fleet.hosts)} hosts: {counts}.", markup=False)
    screen.remarks().print(f"The answers of the hosts: {log.folder}", markup=False)
