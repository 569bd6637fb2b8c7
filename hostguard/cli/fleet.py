"""What the commands do with `-i`: the same, on every host of an inventory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from hostguard.cli.failure import CALL, UNSEEN, Stop

if TYPE_CHECKING:
    from datetime import date

    from hostguard.bundle import Compiled
    from hostguard.fleet.engine import Event, Target
    from hostguard.fleet.rollout import Fleet
    from hostguard.policy.load import LoadedPolicy
    from hostguard.verdict import Seen
    from hostguard.waivers import Waived

Looked: TypeAlias = "tuple[str, Compiled, Seen | str]"
"""A host, its policy, and what was seen there; or why nothing was."""
InventoryOption = Annotated[
    list[str] | None,
    typer.Option("--inventory", "-i", metavar="INVENTORY", help="Act on the hosts of an Ansible inventory."),
]
LimitOption = Annotated[
    str | None, typer.Option("--limit", "-l", metavar="PATTERN", help="With -i: these hosts of it alone.")
]
ForksOption = Annotated[
    int | None, typer.Option("--forks", "-f", min=1, metavar="N", help="With -i: so many hosts at a time (50).")
]


def target(inventory: Sequence[str], limit: str | None, forks: int | None) -> Target:
    from hostguard.fleet.engine import FORKS, Target

    return Target(tuple(inventory), limit, forks or FORKS)


def only_with_inventory(**options: object) -> None:
    """Options that mean nothing on this machine are refused rather than passed over."""
    given = [f"--{name.replace('_', '-')}" for name, said in options.items() if said is not None]
    if given:
        raise Stop(CALL, [f"{', '.join(given)}: only with -i INVENTORY"])


def hosts(chosen: Target) -> list[str]:
    from hostguard.ansible.inventory import Inventory, InventoryError

    try:
        return Inventory(chosen.inventory, chosen.limit).names
    except InventoryError as error:
        raise Stop(CALL, [str(error), "nothing was touched"]) from None


class Log:
    """What each host said, a file a host, for whoever must look into it afterwards."""

    def __init__(self, folder: Path | None) -> None:
        import time

        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
        self.folder = folder or state / "hostguard/runs" / time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime())
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Stop(CALL, [f"--log-dir {self.folder}: {error.strerror}; nothing was touched"]) from None

    def write(self, event: Event) -> None:
        import json

        path = self.folder / f"{event.host.replace('/', '_')}.json"
        path.write_text(json.dumps({"status": event.status, **event.result}, indent=1) + "\n", encoding="utf-8")


def message_of(event: Event) -> str:
    """What ansible says of a host, in one line."""
    return " ".join(str(event.result.get("msg", "")).split())


def state_of(event: Event) -> tuple[str, str]:
    """A host's state after an apply, and what is to be said of it."""
    from hostguard.fleet.rollout import UNREACHABLE

    message = message_of(event)
    if event.status == "unreachable":
        return UNREACHABLE, message
    return str(event.result.get("outcome", "failed")), message


def apply(
    loaded: LoadedPolicy,
    chosen: Target,
    options: Mapping[str, Any],
    *,
    yes: bool,
    canary: int,
    serial: str | None,
    max_fail: str,
    log_dir: Path | None,
) -> int:
    """Apply wave by wave; the exit code."""
    from hostguard.cli import screen
    from hostguard.fleet import engine, rollout

    try:
        step, budget = rollout.share(serial) if serial else None, rollout.share(max_fail)
    except ValueError as error:
        raise Stop(CALL, [f"--serial, --max-fail: {error}"]) from None
    names = hosts(chosen)
    if not screen.agreed(f"Apply {loaded.path} to {len(names)} hosts?", yes):
        raise Stop(CALL, ["nothing was touched"])
    log = Log(log_dir)
    fleet = rollout.Fleet(tuple(names), budget.of(len(names)))
    said: dict[str, Event] = {}
    planned = rollout.waves(names, canary, step)
    variables = {"hostguard_policy_file": str(Path(loaded.path).resolve()), **options}
    stopped = ""
    for number, wave in enumerate(planned, 1):
        if len(planned) > 1:
            kind = "canaries" if wave.canary else "hosts"
            screen.remarks().print(f"Wave {number} of {len(planned)}: {len(wave.hosts)} {kind}")
        for event in watched(engine.play("apply", chosen, variables, wave.hosts)):
            if event.status == "hosts":
                continue
            state, message = state_of(event)
            fleet.states[event.host], said[event.host] = state, event
            log.write(event)
            screen.remarks().print(f"{event.host}: {message or state}", markup=False)
        stopped = fleet.stop(wave)
        if not stopped and wave.canary and number < len(planned):
            stopped = audit_canaries(loaded, chosen, wave.hosts)
        if stopped:
            break
    show(fleet, said, stopped, log)
    if stopped or fleet.failed():
        return 1
    return UNSEEN if fleet.count()[rollout.UNREACHABLE] else 0


def audit_canaries(loaded: LoadedPolicy, chosen: Target, names: Sequence[str]) -> str:
    """Why nobody may follow the canaries; "" where all of them pass. A restart that is owed is no reason."""
    from hostguard.cli import screen

    screen.remarks().print("Auditing the canaries")
    bad = []
    for report in (host.report for host in judged(look(loaded, chosen, names), today())):
        wrong = [r for r in report.results if r.status in ("fail", "unknown")]
        bad += [f"{report.host}: {r.control.id} {r.status} ({r.actual})" for r in wrong if not owed(r.control.id)]
    return f"a canary does not pass its audit: {'; '.join(bad)}" if bad else ""


def owed(control: str) -> bool:
    """Controls of running processes: they fail until a restart that nobody asked for."""
    return control.endswith(".running")


def watched(events: Iterator[Event]) -> Iterator[Event]:
    """The results alone, with what goes on shown on a terminal meanwhile."""
    from hostguard.cli import screen

    running: set[str] = set()
    done = count = 0
    with screen.progress() as progress:
        progress("starting ansible")
        for event in _stopping(events):
            if event.status == "hosts":
                count = len(event.result["hosts"])
                yield event
            elif event.status == "started":
                running.add(event.host)
            else:
                running.discard(event.host)
                done += 1
                yield event
            shown = ", ".join(sorted(running)[:3]) + (f" and {len(running) - 3} more" if len(running) > 3 else "")
            progress(f"{done} of {count} done" + (f"; on {shown}" if running else ""))


def _stopping(events: Iterator[Event]) -> Iterator[Event]:
    """Ends the command where the inventory or ansible itself is at fault."""
    from hostguard.fleet.engine import EngineError

    try:
        yield from events
    except EngineError as error:
        raise Stop(CALL, [str(error), "nothing was touched"]) from None


STYLE = {"applied": "green", "unchanged": "green", "unreachable": "yellow", "not begun": "yellow"}


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
        message = message_of(said[host]) if host in said and state not in WELL else ""
        owed_units = ", ".join(result.get("owed", []))
        table.add_row(
            Text(host),
            Text(state, STYLE.get(state, "bold red")),
            str(result.get("generation", "")),
            str(len(result["changes"])) if result.get("changes") else "",
            Text(message or (f"a restart of {owed_units} is owed" if owed_units else "")),
        )
    console = screen.result()
    console.print(table)
    console.print()
    if stopped:
        console.print(Text.assemble(("Stopped: ", "bold red"), stopped))
    counts = ", ".join(f"{count} {state}" for state, count in fleet.count().most_common())
    console.print(f"{len(fleet.hosts)} hosts: {counts}.", markup=False)
    screen.remarks().print(f"What each host said: {log.folder}", markup=False)


def judged(looked: Iterable[Looked], day: date) -> list[Waived]:
    """Every host's verdict; of one that can't be reached every control is unknown."""
    from hostguard import verdict, waivers

    found = []
    for host, compiled, seen in looked:
        report = (
            verdict.unreached(compiled, host, seen) if isinstance(seen, str) else verdict.judge(compiled, host, seen)
        )
        found.append(waivers.heed(report, compiled.loaded.policy.waivers, day))
    return found


def today() -> date:
    """In UTC, in which waivers end."""
    from datetime import UTC, datetime

    return datetime.now(UTC).date()


def look(
    loaded: LoadedPolicy, chosen: Target, some: Sequence[str] | None = None, ask: Mapping[str, Any] | None = None
) -> list[Looked]:
    """Each host with its own policy, and what was seen there; or why nothing was. In the inventory's order."""
    import json

    from hostguard.bundle import compile_policy
    from hostguard.fleet import asking
    from hostguard.policy import load
    from hostguard.verdict import Seen

    compiled: dict[str, Compiled] = {"{}": compile_policy(loaded)}

    def policy_of(overlay: Mapping[str, Any]) -> Compiled:
        key = json.dumps(overlay, sort_keys=True)
        if key not in compiled:
            compiled[key] = compile_policy(load.load(Path(loaded.path), [("hostguard_policy", overlay)]))
        return compiled[key]

    def request(overlay: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"do": "read", "bundle": policy_of(overlay).bundle(extra=dict(ask or {}))}
        except load.PolicyError as error:
            raise ValueError(f"the policy can't be used: {error}") from None

    found: dict[str, Looked] = {}
    for event in watched(asking.ask(chosen, request, some)):
        if event.status == "hosts":
            # One that nothing more is said of is not passed over: it was not seen.
            found = {host: (host, compiled["{}"], "it was not asked") for host in event.result["hosts"]}
            continue
        answer = event.result.get("answer", {"error": message_of(event)})
        if "error" in answer:
            found[event.host] = (event.host, compiled["{}"], answer["error"] or event.status)
        else:
            found[event.host] = (event.host, policy_of(event.result["policy"]), Seen.of(answer))
    return list(found.values())


def ask(chosen: Target, request: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """One question to every host; {"error": …} from one that has no answer."""
    from hostguard.fleet import asking

    for event in watched(asking.ask(chosen, lambda _: request)):
        if event.status == "hosts":
            continue
        unreachable = event.status == "unreachable"
        yield event.host, event.result.get("answer") or {"error": message_of(event), "unreachable": unreachable}


def tell(chosen: Target, request: Mapping[str, Any], words: str) -> int:
    """Ask every host, and say in a line each what it answered; the exit code."""
    failed = unseen = False
    for host, answer in ask(chosen, request):
        if "error" in answer or answer.get("outcome") == "failed":
            failed |= not answer.get("unreachable")
            unseen |= bool(answer.get("unreachable"))
            typer.echo(f"{host}: {answer.get('error') or '; '.join(answer['trouble'])}")
        else:
            shown = {key: ", ".join(map(str, v)) or "none" if isinstance(v, list) else v for key, v in answer.items()}
            typer.echo(f"{host}: {words.format(**shown)}")
    return 1 if failed else UNSEEN if unseen else 0
