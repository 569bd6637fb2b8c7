"""Attempts as they happen: a line each for a person, or for a program."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from hostguard.observe.attempts import Attempt, Event, Names, of
from hostguard.visible import visible

LOST = {
    "flood": "packets came faster than they could be read, and were not looked at",
    "crowd": "packets went to more destinations than are kept apart, and are not shown",
}
TOLD_AGAIN = 10
"""How many times more often than at the last line that told of it."""


class Watcher:
    """Keeps what repeated attempts are known by."""

    def __init__(self) -> None:
        self.names = Names()
        self.attempts: dict[int, Attempt] = {}
        self.counts: dict[int, int] = {}
        self.lost = 0

    def hear(self, event: Event) -> None:
        kind = event["is"]
        if kind == "answer":
            self.names.hear(event["message"])
        elif kind == "attempt":
            self.attempts[event["id"]] = of(event)
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


class Lines(Watcher):
    """For a person: red is what was denied, yellow what enforcing would deny."""

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
        elif kind == "attempt":
            self._line(event, 1)
        elif kind == "again" and self.counts[event["id"]] >= TOLD_AGAIN * self.told[event["id"]]:
            self._line(event, self.counts[event["id"]])
        elif kind == "lost":
            self.remarks.print(f"{event['packets']} {LOST[event['why']]}", style="yellow")

    def _line(self, event: Event, count: int) -> None:
        self.told[event["id"]] = count
        at = datetime.datetime.fromtimestamp(event["at"]).astimezone()
        line = Text.assemble((f"{at:%H:%M:%S}  ", "dim"), sentence(self.attempts[event["id"]], self.names))
        if count > 1:
            line.append(f"  ×{count}", "bold")
        self.result.print(line, soft_wrap=True)

    def end(self) -> None:
        again = sorted((count, number) for number, count in self.counts.items() if count > self.told[number])
        if again:
            self.result.print("\nIn all:")
        for count, number in reversed(again):
            line = Text.assemble((f"{count:>7} × ", "bold"), sentence(self.attempts[number], self.names))
            self.result.print(line, soft_wrap=True)
        total = sum(self.counts.values())
        plural = "" if total == 1 else "s"
        self.remarks.print(f"{total} attempt{plural}, {len(self.attempts)} of them different" if total else "none came")


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
