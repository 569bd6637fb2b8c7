"""The gateway's own process: killed, and replaced."""

from __future__ import annotations

from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import SLACK, Fault, Key, Numbers, first_not, is_well, requests, seconds
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.running import DRAIN, Running

PAUSE = 0.02
BACK = 1.0
"""Seconds in which a process that was killed is to serve again."""


class _Process(Fault):
    act = 2
    directly = "there is no gateway on this way"
    ttl = 60
    """As names commonly have it: a new process finds them in the host's cache."""
    lasts = 2.5

    def calls(self, app: Application) -> None:
        app.steadily(self.lasts, PAUSE)

    def _repeated(self, n: Numbers, way: Way) -> str:
        asked, reached = (sum(each["method"] == n.unsafe for each in of) for of in (way["calls"], requests(way)))
        if n.unsafe in n.up.retry.safe or reached <= asked:
            return ""
        return f"{asked} {n.unsafe} were asked for, and {reached} reached it"


class Killed(_Process):
    id = "killed"
    title = "the gateway is killed (-9) under load"

    def strikes(self, running: Running) -> None:
        running.kill()
        running.start()

    def decides(self, n: Numbers) -> Key:
        return Key("gateway.program", n.program)

    def expected(self, n: Numbers) -> str:
        return f"well again within {seconds(BACK)}; no {n.unsafe} is sent twice"

    def wrong(self, n: Numbers, way: Way) -> str:
        calls = way["calls"]
        first = next((at for at, call in enumerate(calls) if not is_well(call)), None)
        if first is None:
            return self._repeated(n, way)
        back = next((call for call in calls[first:] if is_well(call)), None)
        if back is None:
            return "not well again"
        gap = back["at"] - calls[first]["at"]
        return f"well again after {seconds(gap)}" if gap > BACK + SLACK else self._repeated(n, way)

    def unseen(self, n: Numbers, way: Way) -> str:
        return "" if any(not is_well(call) for call in way["calls"]) else "no request came while it was down"


class Handover(_Process):
    id = "handover"
    title = "a new gateway takes over under load"
    lasts = DRAIN + 2.5

    def strikes(self, running: Running) -> None:
        running.hand_over()

    def decides(self, n: Numbers) -> Key:
        return Key("gateway.drain", f"{n.drain:g}s")

    def expected(self, n: Numbers) -> str:
        return "no request fails"

    def wrong(self, n: Numbers, way: Way) -> str:
        bad = sum(not is_well(call) for call in way["calls"])
        if bad:
            return f"{bad} of {len(way['calls'])} failed; the first: {first_not(way['calls'], '200')}"
        return self._repeated(n, way)
