"""More than the provider was said to carry."""

from __future__ import annotations

from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import SLACK, Fault, Key, Numbers, is_well, requests, said, seconds
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Asked

HELD = 1.5
"""Seconds that the provider takes for each request, so that all are under way at once."""


class Overload(Fault):
    id = "overload"
    title = "twice as many requests at once as the breaker takes"
    after = 8.0

    def named(self, n: Numbers) -> str:
        scaled = f" (scaled from {n.own.requests})" if n.own.requests > n.up.requests else ""
        return f"{2 * n.up.requests} requests at once, breaker of {n.up.requests}{scaled}"

    def answers(self, asked: Asked) -> None:
        asked.wait(_held(asked.n))
        asked.well()

    def calls(self, app: Application) -> None:
        app.at_once(2 * app.n.up.requests, app.n.unsafe)

    def decides(self, n: Numbers) -> Key:
        return Key("breaker.requests", str(n.own.requests))

    def expected(self, n: Numbers) -> str:
        return f"{n.up.requests} at most reach it, the others 503 at once"

    def shows(self, direct: Way) -> bool:
        return len(requests(direct)) == len(direct["calls"])

    def wrong(self, n: Numbers, way: Way) -> str:
        at = [each["at"] for each in requests(way)]
        most = max((sum(began - _held(n) < other <= began for other in at) for began in at), default=0)
        if most > n.up.requests:
            return f"{most} were under way at once"
        if not any(map(is_well, way["calls"])):
            return f"none was served: {said(way['calls'][0])}"
        odd = next((call for call in way["calls"] if not is_well(call) and call["status"] != 503), None)
        if odd:
            return f"{said(odd)}, and not 503"
        late = max((call["seconds"] for call in way["calls"] if not is_well(call)), default=0.0)
        return f"503 after {seconds(late)}" if late > _held(n) + SLACK else ""


def _held(n: Numbers) -> float:
    return min(HELD, n.up.per_try / 2)
