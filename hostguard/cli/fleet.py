"""What the commands do with `-i`: the same, on every host of an inventory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from hostguard.cli.failure import Stop
from hostguard.cli.policy import wrong
from hostguard.status import Exit

if TYPE_CHECKING:
    from datetime import date

    from hostguard.bundle import Compiled
    from hostguard.fleet.engine import Event, Target
    from hostguard.policy.load import LoadedPolicy
    from hostguard.survey import Looked
    from hostguard.target.bounded import Limits

    Compiler = Callable[[LoadedPolicy], Compiled]


def limits(answer_within: str | None, answer_size: str | None) -> Limits:
    """Of one answer of one host."""
    from hostguard.target.bounded import Limits

    try:
        return Limits.of(answer_within, answer_size)
    except ValueError as error:
        raise Stop(Exit.CALL, [f"--{str(error).replace('_', '-', 1)}"]) from None


def target(inventory: Sequence[str], limit: str | None, forks: int | None, limits: Limits) -> Target:
    from hostguard.fleet.engine import FORKS, Target

    return Target(tuple(inventory), limit, forks or FORKS, limits)


def only_with_inventory(**options: object) -> None:
    """Options that mean nothing on this machine are refused rather than passed over."""
    given = [f"--{name.replace('_', '-')}" for name, said in options.items() if said is not None]
    if given:
        raise Stop(Exit.CALL, [f"{', '.join(given)}: only with -i INVENTORY"])


def hosts(chosen: Target) -> list[str]:
    from hostguard.ansible.inventory import Inventory, InventoryError

    try:
        return Inventory(chosen.inventory, chosen.limit).names
    except InventoryError as error:
        raise Stop(Exit.CALL, [str(error), "nothing was touched"]) from None


def message_of(event: Event) -> str:
    """What ansible says of a host, in one line that prints: some of it is the host's own word."""
    from hostguard.visible import one_line

    return one_line(event.result.get("msg", ""))


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
        raise Stop(Exit.CALL, [str(error), "nothing was touched"]) from None


def today() -> date:
    """In UTC, in which waivers end."""
    from datetime import UTC, datetime

    return datetime.now(UTC).date()


def look(
    loaded: LoadedPolicy, chosen: Target, some: Sequence[str] | None = None, compiler: Compiler | None = None
) -> list[Looked]:
    """Each host with its own policy, and what was seen there; or why nothing was. In the inventory's order. What is
    asked is what `compiler` makes of a policy: all controls, if none is said."""
    import json

    from hostguard.bundle import compile_policy
    from hostguard.fleet import asking
    from hostguard.policy import load
    from hostguard.seen import Seen, in_words_of
    from hostguard.survey import Looked

    compile_ = compiler or compile_policy
    compiled: dict[str, Compiled] = {"{}": compile_(loaded)}

    def policy_of(overlay: Mapping[str, Any]) -> Compiled:
        key = json.dumps(overlay, sort_keys=True)
        if key not in compiled:
            compiled[key] = compile_(load.load(Path(loaded.path), [("hostguard_policy", overlay)]))
        return compiled[key]

    problems: dict[load.Problem, None] = {}

    def request(overlay: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return {"do": "read", "bundle": policy_of(overlay).bundle()}
        except load.PolicyError as error:
            problems.update(dict.fromkeys(error.problems))
            raise ValueError(f"the policy can't be used: {error}") from None

    found: dict[str, Looked] = {}
    for event in watched(asking.ask(chosen, request, some)):
        if event.status == "hosts":
            # One that nothing more is said of is not passed over: it was not seen.
            found = {host: Looked(host, compiled["{}"], "it was not asked") for host in event.result["hosts"]}
            continue
        answer = event.result.get("answer", {"error": message_of(event)})
        if "error" in answer:
            found[event.host] = Looked(event.host, compiled["{}"], answer["error"] or event.status)
        else:
            own = policy_of(event.result["policy"])
            try:
                found[event.host] = Looked(event.host, own, Seen.of(own.bundle(), answer))
            except Exception as error:  # whatever one host is, the others are told of
                found[event.host] = Looked(event.host, own, f"its answer can't be read: {in_words_of(error)}")
    if problems:  # what an inventory refines is a policy too: it is wrong before any host is
        raise wrong(list(problems))
    return list(found.values())


def overlays(inventory: Sequence[str], limit: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """What an inventory refines of the policy for each host. Ends the command where it can't be read."""
    from hostguard.ansible.inventory import Inventory, InventoryError

    try:
        known = Inventory(inventory, limit)
        for name in known.names:
            yield name, known.policy(name)
    except InventoryError as error:
        raise Stop(Exit.CALL, [str(error), "nothing was touched"]) from None


def check_policies(loaded: LoadedPolicy, chosen: Target) -> None:
    """Ends the command where what an inventory refines for a host makes no policy: before any host is touched."""
    import json

    from hostguard.policy import load

    problems: dict[load.Problem, None] = {}
    known: set[str] = {"{}"}
    for _, overlay in overlays(chosen.inventory, chosen.limit):
        key = json.dumps(overlay, sort_keys=True)
        if key in known:
            continue
        known.add(key)
        try:
            load.load(Path(loaded.path), [("hostguard_policy", overlay)])
        except load.PolicyError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise wrong(list(problems))


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
    from hostguard.visible import one_line

    failed = unseen = False
    for host, answer in ask(chosen, request):
        if "error" in answer or answer.get("outcome") == "failed":
            failed |= not answer.get("unreachable")
            unseen |= bool(answer.get("unreachable"))
            said = "; ".join([*filter(None, [answer.get("error")]), *answer.get("trouble", [])])
        else:
            shown = {key: ", ".join(map(str, v)) or "none" if isinstance(v, list) else v for key, v in answer.items()}
            said = words.format_map(_Lacking(shown))
        typer.echo(f"{host}: {one_line(said)}")
    return Exit.FAILED if failed else Exit.UNSEEN if unseen else Exit.WELL


class _Lacking(dict[str, Any]):
    """A host whose outcome is another one tells less."""

    def __missing__(self, key: str) -> str:
        return "none"
