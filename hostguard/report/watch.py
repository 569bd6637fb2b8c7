"""Attempts, and requests that failed at the gateway, as they happen: a line each for a person, or for a program."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hostguard import response_flags
from hostguard.observe.attempts import Attempt, Event, Failure, Names, failed, of
from hostguard.visible import visible

LOST = {
    "flood": "packets came faster than they could be read, and were not looked at",
    "crowd": "packets went to more destinations than are kept apart, and are not shown",
    "lines": "lines of the gateway's log came faster than they could be read, or were too long, and were not looked at",
    "odd": "lines of the gateway's log are none of Envoy's, and were not looked at",
    "kinds": "requests failed in more ways than are kept apart, and are not shown",
}
NOT_SHOWN = {
    "off": "gateway.log is off",
    "missing": "{log} is not there",
    "unreadable": "{log} can't be read: {why}",
}
"""Why the gateway's failures are not shown, by the state of its log."""
DETAILS = {
    "request_payload_too_large": "the request is larger than payload.request_max",
    "failed_to_inject_credential": "its key is missing: nothing was sent",
}
"""Envoy's details that no flag tells."""
BY_ITSELF = "via_upstream"
"""The detail of an answer that is the provider's own."""
NO_TRY_LEFT = "URX"
TOLD_AGAIN = 10
"""How many times more often than at the last line that told of it."""


class Watcher:
    """Keeps what repeated attempts are known by."""

    def __init__(self) -> None:
        self.names = Names()
        self.attempts: dict[int, Attempt] = {}
        self.failures: dict[int, Failure] = {}
        self.counts: dict[int, int] = {}
        self.lost = 0

    def hear(self, event: Event) -> None:
        kind = event["is"]
        if kind == "answer":
            self.names.hear(event["message"])
        elif kind == "attempt":
            self.attempts[event["id"]] = of(event)
            self.counts[event["id"]] = 1
        elif kind == "failed":
            self.failures[event["id"]] = failed(event)
            self.counts[event["id"]] = 1
        elif kind == "again":
            self.counts[event["id"]] += event["attempts"]
        elif kind == "lost":
            self.lost += event["packets"]

    def end(self) -> None:
        """Nothing comes any more."""


class JsonLines(Watcher):
    """JSON, an object a line: `hostguard.watch/1`."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self.write = write

    def hear(self, event: Event) -> None:
        super().hear(event)
        kind = event["is"]
        if kind == "ready":
            self._say("ready", event, schema="hostguard.watch/1", mode=event["mode"])
        elif kind == "attempt":
            self._say("attempt", event, id=event["id"], **described(of(event), self.names))
        elif kind == "failed":
            self._say("failed", event, id=event["id"], **described_failure(failed(event)))
        elif kind == "gateway":
            self._say("gateway", event, state=event["state"], why=event["why"], log=event["log"])
        elif kind == "again":
            more = {"attempts": event["attempts"], "packets": event["packets"], "count": self.counts[event["id"]]}
            self._say("again", event, id=event["id"], **more)
        elif kind == "lost":
            self._say("lost", event, packets=event["packets"], why=LOST[event["why"]])

    def _say(self, kind: str, event: Event, **more: Any) -> None:
        at = datetime.datetime.fromtimestamp(event["at"], datetime.UTC)
        self.write(json.dumps({"event": kind, "time": at.isoformat(timespec="milliseconds"), **more}))


def described(attempt: Attempt, names: Names) -> dict[str, Any]:
    process = {"pid": attempt.pid, "command": attempt.command, "exe": attempt.exe, "unit": attempt.unit}
    return {
        "verdict": "denied" if attempt.denied else "observed",
        "direction": "forwarded" if attempt.forwarded else "answer" if attempt.answer else "out",
        "account": attempt.account or None,
        "process": {key: value for key, value in process.items() if value} or None,
        "protocol": attempt.protocol,
        "from": str(attempt.source),
        "to": str(attempt.peer),
        "port": attempt.port,
        "names": names.of(attempt.peer),
    }


def described_failure(failure: Failure) -> dict[str, Any]:
    return {
        "provider": failure.provider,
        "accounts": list(failure.users),
        "status": failure.status or None,
        "flags": list(response_flags.flags(failure.flags)),
        "means": meaning(failure),
        "host": failure.host or None,
        "tries": failure.tries,
        "retry_after": failure.retry_after or None,
    }


def meaning(failure: Failure) -> str:
    """What became of a request, in words."""
    if failure.refused:
        return f"its answer was refused: {failure.refused}"
    if failure.detail == BY_ITSELF:
        often = f", on try {failure.tries}" if failure.tries > 1 else ""
        wait = f", Retry-After {failure.retry_after}" if failure.retry_after else ""
        return f"the provider's own answer{often}{wait}"
    found = response_flags.flags(failure.flags)
    # That no try was left says nothing of what became of them.
    said = response_flags.words(",".join(each for each in found if each != NO_TRY_LEFT) or failure.flags)
    why = failure.failure.replace("_", " ")
    return ": ".join(filter(None, (said or DETAILS.get(failure.detail, failure.detail), why)))


class Lines(Watcher):
    """For a person: red is what was denied or failed, yellow what enforcing would deny."""

    def __init__(self, result: Console, remarks: Console) -> None:
        super().__init__()
        self.result, self.remarks = result, remarks
        self.told: dict[int, int] = {}

    def hear(self, event: Event) -> None:
        super().hear(event)
        kind = event["is"]
        if kind == "ready":
            observes = event["mode"] != "enforce"
            mode = "attempts that enforcing would deny (this host observes)" if observes else "denied attempts"
            self.remarks.print(f"watching {mode}; Ctrl-C ends it", style="dim")
            if event["no_names"]:
                self.remarks.print(f"DNS answers can't be seen, so no names: {event['no_names']}", markup=False)
        elif kind == "gateway":
            self._of_gateway(event)
        elif kind in ("attempt", "failed"):
            self._line(event, 1)
        elif kind == "again" and self.counts[event["id"]] >= TOLD_AGAIN * self.told[event["id"]]:
            self._line(event, self.counts[event["id"]])
        elif kind == "lost":
            self.remarks.print(f"{event['packets']} {LOST[event['why']]}", style="yellow")

    def _of_gateway(self, event: Event) -> None:
        if event["state"] == "followed":
            self.remarks.print("and the requests that fail at the gateway", style="dim")
        else:
            why = NOT_SHOWN[event["state"]].format(log=event["log"], why=event["why"])
            self.remarks.print(f"the gateway's failures are not shown: {why}", style="yellow", markup=False)

    def _line(self, event: Event, count: int) -> None:
        number = event["id"]
        self.told[number] = count
        at = datetime.datetime.fromtimestamp(event["at"]).astimezone()
        failure = self.failures.get(number)
        said = of_failure(failure) if failure else sentence(self.attempts[number], self.names)
        line = Text.assemble((f"{at:%H:%M:%S}  ", "dim"), said)
        if count > 1:
            line.append(f"  ×{count}", "bold")
        self.result.print(line, soft_wrap=True)

    def end(self) -> None:
        again = sorted((self.counts[each], each) for each in self.attempts if self.counts[each] > self.told[each])
        if again:
            self.result.print("\nIn all:")
        for count, number in reversed(again):
            line = Text.assemble((f"{count:>7} × ", "bold"), sentence(self.attempts[number], self.names))
            self.result.print(line, soft_wrap=True)
        if self.failures:
            self.result.print("\nAt the gateway:")
            self.result.print(self._table())
        total = sum(self.counts[each] for each in self.attempts)
        said = [_number(total, "attempt") + f", {len(self.attempts)} of them different"] if total else []
        if requests := sum(self.counts[each] for each in self.failures):
            said.append(f"{_number(requests, 'request')} failed at the gateway")
        self.remarks.print("; ".join(said) or "none came")

    def _table(self) -> Table:
        """By provider and accounts, what fails most of each first."""
        table = Table(box=None, pad_edge=False, header_style="dim")
        for head in ("Provider", "Accounts"):
            table.add_column(head, overflow="fold", max_width=18)
        table.add_column("Failed", justify="right")
        table.add_column("Status")
        table.add_column("What became of them", overflow="fold")
        found = [(each.provider, each.users, -self.counts[number], number) for number, each in self.failures.items()]
        for provider, users, count, number in sorted(found):
            each = self.failures[number]
            words = (visible(provider), visible(", ".join(users)), f"{-count:,}", _status(each), visible(meaning(each)))
            table.add_row(*map(Text, words))
        return table


def _number(count: int, of_what: str) -> str:
    return f"{count:,} {of_what}" + ("" if count == 1 else "s")


def _status(failure: Failure) -> str:
    """With Envoy's flags."""
    return " ".join(filter(None, (str(failure.status or "none"), *response_flags.flags(visible(failure.flags)))))


def of_failure(failure: Failure) -> Text:
    who = visible(", ".join(failure.users)) or "somebody"
    said = f" {_status(failure)}: {visible(meaning(failure))}"
    region = f" ({visible(failure.host)})" if failure.host else ""
    return Text.assemble(
        ("failed     ", "bold red"), who, " → ", (visible(failure.provider), "bold"), f"{region}{said}"
    )


def sentence(attempt: Attempt, names: Names) -> Text:
    verdict = ("denied     ", "bold red") if attempt.denied else ("would deny ", "bold yellow")
    if attempt.forwarded:
        who = f"forwarded from {attempt.source}"
    else:
        process = f"{attempt.command} ({attempt.pid})" if attempt.pid else "(process gone)" if attempt.account else ""
        who = " ".join(filter(None, (attempt.account or "the kernel", visible(process), visible(attempt.unit))))
    name = visible(next(reversed(names.of(attempt.peer)), ""))
    address = f"{name} ({attempt.peer})" if name else str(attempt.peer)
    if attempt.answer:
        does = "refuses" if attempt.refusal else "answers"
        return Text.assemble(verdict, who, f" {does} ", (address, "bold"), f" on {attempt.protocol} {attempt.port}")
    return Text.assemble(verdict, who, " → ", (address, "bold"), f" {attempt.protocol} {attempt.port}")
