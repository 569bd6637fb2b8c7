"""A region, or all there is of a provider, that nobody reaches."""

from __future__ import annotations

from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import (
    BACK_OFF,
    SLACK,
    Fault,
    Key,
    Numbers,
    first_not,
    first_unrefused,
    seconds,
    slowest,
    span,
)
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Site


class _Away(Fault):
    def calls(self, app: Application) -> None:
        for _ in range(2):
            app.unsafe()

    def within(self, n: Numbers) -> float:
        """Seconds until another region has answered."""
        before = n.to_next_region - 1
        return before * (n.up.connect + BACK_OFF)

    def decides(self, n: Numbers) -> Key:
        if n.regions > 1:
            return Key("fallback", ", ".join(n.own.hosts[1:])) if n.fails_over else Key("retry.tries", str(n.tries))
        return Key("timeouts.connect", span(n.up.connect))

    def expected(self, n: Numbers) -> str:
        if n.regions > 1:
            return f"200 by region 2 within {seconds(self.within(n))}"
        return f"503 within {seconds(n.unconnected)}"

    def wrong(self, n: Numbers, way: Way) -> str:
        if n.regions == 1:
            return first_unrefused(way, n.unconnected)
        if problem := first_not(way["calls"], "200 by region 2"):
            return problem
        took = slowest(way["calls"])
        return f"200 after {seconds(took)}" if took > self.within(n) + SLACK else ""


class Refuses(_Away):
    id = "refuses"
    title = "connections are refused"

    def named(self, n: Numbers) -> str:
        return f"{'region 1' if n.regions > 1 else 'it'} refuses connections"

    def begins(self, site: Site) -> None:
        site.region(1).close()


class Silent(_Away):
    id = "silent"
    title = "nobody answers: packets are lost"

    def named(self, n: Numbers) -> str:
        return f"{'region 1' if n.regions > 1 else 'it'} is silent: packets are lost"

    def begins(self, site: Site) -> None:
        site.region(1).fall_silent()

    def decides(self, n: Numbers) -> Key:
        return Key("timeouts.connect", span(n.up.connect)) if n.regions == 1 or n.fails_over else super().decides(n)
