"""A provider that takes an application's time."""

from __future__ import annotations

from hostguard.rehearse.faults.fault import (
    SLACK,
    Fault,
    Key,
    Numbers,
    first_unrefused,
    is_well,
    requests,
    said,
    seconds,
    span,
)
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Asked


class Hangs(Fault):
    id = "hangs"
    title = "takes the request, and never answers"

    def answers(self, asked: Asked) -> None:
        asked.hang()

    def decides(self, n: Numbers) -> Key:
        one = n.longest < n.up.total
        return Key("timeouts.try", span(n.up.per_try)) if one else Key("timeouts.total", span(n.up.total))

    def expected(self, n: Numbers) -> str:
        return f"504 within {seconds(n.longest)}"

    def wrong(self, n: Numbers, way: Way) -> str:
        if len(requests(way)) > n.tries:
            return f"{len(requests(way))} requests reached it, for one of {n.tries} tries"
        return first_unrefused(way, n.longest)


class Drip(Fault):
    id = "drip"
    title = "a byte every 20 ms: no read timeout helps"

    def answers(self, asked: Asked) -> None:
        asked.drip(0.02)

    def decides(self, n: Numbers) -> Key:
        return Key("timeouts.total", span(n.up.total))

    def expected(self, n: Numbers) -> str:
        how = "it ends" if n.up.payload.stream else "504"
        return f"{how} within {seconds(n.up.total)}"

    def wrong(self, n: Numbers, way: Way) -> str:
        if not n.up.payload.stream:
            return first_unrefused(way, n.up.total)
        late = next((call for call in way["calls"] if call["seconds"] > n.up.total + SLACK or is_well(call)), None)
        return f"{said(late)} after {seconds(late['seconds'])}" if late else ""
