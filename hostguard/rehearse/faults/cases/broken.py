"""Connections that end before they should."""

from __future__ import annotations

from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import (
    Fault,
    Key,
    Numbers,
    first_not,
    first_unrefused,
    is_well,
    requests,
    said,
    times,
)
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Asked


class ResetWithin(Fault):
    id = "reset-within"
    title = "reset in the middle of a good answer"

    def answers(self, asked: Asked) -> None:
        asked.cut()

    def decides(self, n: Numbers) -> Key:
        return Key("payload.stream", str(n.up.payload.stream).lower())

    def expected(self, n: Numbers) -> str:
        return "what came of it" if n.up.payload.stream else "502: never a 200 that is cut"

    def wrong(self, n: Numbers, way: Way) -> str:
        if n.up.payload.stream:
            return "a whole 200" if is_well(way["calls"][0]) else ""
        return first_unrefused(way, n.longest)


class ResetUnsafe(Fault):
    id = "reset-unsafe"
    title = "an unsafe request is reset before its answer"

    def named(self, n: Numbers) -> str:
        return f"{n.unsafe} is reset before its answer"

    def answers(self, asked: Asked) -> None:
        asked.reset()

    def calls(self, app: Application) -> None:
        app.unsafe()

    def decides(self, n: Numbers) -> Key:
        return Key("retry.safe", ", ".join(n.up.retry.safe))

    def expected(self, n: Numbers) -> str:
        return "503, sent once"

    def wrong(self, n: Numbers, way: Way) -> str:
        sent = len(requests(way))
        if n.unsafe not in n.up.retry.safe and sent != 1:
            return f"it was sent {times(sent)}"
        return first_unrefused(way, n.longest)


class ResetSafe(Fault):
    id = "reset-safe"
    title = "a safe request is reset once"

    def named(self, n: Numbers) -> str:
        return f"{n.safe} is reset once before its answer"

    def answers(self, asked: Asked) -> None:
        if asked.count == 1:
            asked.reset()
        else:
            asked.well()

    def again(self, n: Numbers) -> bool:
        return n.tries > 1 and n.up.retry.timeouts and n.safe in n.up.retry.safe

    def decides(self, n: Numbers) -> Key:
        if n.up.retry.timeouts:
            return Key("retry.tries", str(n.tries))
        return Key("retry.timeouts", "false")

    def expected(self, n: Numbers) -> str:
        return "200, sent twice" if self.again(n) else "503, sent once"

    def wrong(self, n: Numbers, way: Way) -> str:
        (call,), sent = way["calls"], len(requests(way))
        if sent != 1 + self.again(n):
            return f"{said(call)}, sent {times(sent)}"
        return first_not([call], "200") if self.again(n) else first_unrefused(way, n.longest)
