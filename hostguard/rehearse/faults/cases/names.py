"""Names that lead elsewhere, or nowhere."""

from __future__ import annotations

from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import (
    SLACK,
    TTL,
    Fault,
    Key,
    Numbers,
    first_not,
    is_refused,
    is_well,
    said,
    seconds,
)
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Site

OFTEN = 0.1
ASKED_AGAIN = 5.0
"""Seconds after which the gateway asks again for a name that has no address."""


class _Named(Fault):
    def decides(self, n: Numbers) -> Key:
        return Key("host", n.own.hosts[0])


class Moved(_Named):
    id = "name-moved"
    title = f"its name moves (TTL {TTL} s), nobody is at the old address"

    def moves(self, site: Site) -> None:
        site.move(1)

    def calls(self, app: Application) -> None:
        app.safe(remember=True)
        app.provider("moves")
        app.mark("moved", "the name leads to another address")
        app.every(OFTEN, TTL + ASKED_AGAIN, is_well, app.n.safe, remember=True)
        app.safe(remember=True)

    def expected(self, n: Numbers) -> str:
        return f"200 from the new address after {TTL + 1} s at most"

    def wrong(self, n: Numbers, way: Way) -> str:
        bad = [call for call in way["calls"] if not is_well(call)]
        if way["calls"] and not is_well(way["calls"][-1]):
            return f"{said(way['calls'][-1])}, {seconds(way['calls'][-1]['at'])} after it moved"
        until = max((call["at"] + call["seconds"] for call in bad), default=0.0)
        return f"failures for {seconds(until)} after it moved" if until > TTL + 1 + SLACK else ""


class Gone(_Named):
    id = "nxdomain"
    title = "its name is gone for a while (NXDOMAIN)"

    def goes(self, site: Site) -> None:
        site.lead(1, "gone")

    def comes(self, site: Site) -> None:
        site.lead(1, "here")

    def calls(self, app: Application) -> None:
        app.safe()
        app.provider("goes")
        app.every(4 * OFTEN, TTL + 2, lambda _: False, app.n.safe)
        app.provider("comes")
        app.every(4 * OFTEN, TTL + ASKED_AGAIN + 2, is_well, app.n.safe)

    def expected(self, n: Numbers) -> str:
        meanwhile = "200 by region 2 meanwhile" if n.regions > 1 else "503 at once meanwhile"
        return f"{meanwhile}; well {seconds(TTL + ASKED_AGAIN)} after it is back"

    def wrong(self, n: Numbers, way: Way) -> str:
        odd = next((call for call in way["calls"] if not is_well(call) and not is_refused(call)), None)
        if odd:
            return f"{said(odd)} after {seconds(odd['seconds'])}"
        late = next((call for call in way["calls"] if call["seconds"] > n.unconnected + SLACK), None)
        if late:
            return f"{said(late)} came after {seconds(late['seconds'])}"
        if n.fails_over:
            return first_not(way["calls"], "200 by region 2")
        return "" if is_well(way["calls"][-1]) else f"{said(way['calls'][-1])} long after it was back"


class ResolverFails(_Named):
    id = "resolver-fails"
    title = "the resolver fails (SERVFAIL)"

    def fails(self, site: Site) -> None:
        site.lead(1, "failing")

    def calls(self, app: Application) -> None:
        app.safe()
        app.provider("fails")
        app.every(4 * OFTEN, 2 * TTL + 1, lambda _: False, app.n.safe)

    def expected(self, n: Numbers) -> str:
        return "200: it keeps the addresses that it knows"

    def wrong(self, n: Numbers, way: Way) -> str:
        return first_not(way["calls"], "200")
