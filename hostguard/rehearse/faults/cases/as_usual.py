"""No fault at all, and none that a policy should see as one."""

from __future__ import annotations

from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import SLACK, Fault, Key, Numbers, first_not, is_well, seconds, slowest, span
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Asked


class Nothing(Fault):
    id = "nothing"
    title = "nothing is broken"

    def calls(self, app: Application) -> None:
        app.safe()
        app.unsafe()

    def decides(self, n: Numbers) -> Key:
        return Key("listen", str(n.own.listen)) if n.own.listen else Key("group", str(n.own.group))

    def expected(self, n: Numbers) -> str:
        return "200, and 200"

    def shows(self, direct: Way) -> bool:
        return all(map(is_well, direct["calls"]))

    def wrong(self, n: Numbers, way: Way) -> str:
        return first_not(way["calls"], "200")


class Slow(Fault):
    id = "slow"
    title = "as slow as its p99"

    def named(self, n: Numbers) -> str:
        return f"every answer takes {seconds(n.up.p99)}, its p99"

    def answers(self, asked: Asked) -> None:
        asked.wait(asked.n.up.p99)
        asked.well()

    def decides(self, n: Numbers) -> Key:
        return Key("timeouts.try", span(n.up.per_try))

    def expected(self, n: Numbers) -> str:
        return f"200 after {seconds(n.up.p99)}"

    def shows(self, direct: Way) -> bool:
        return all(map(is_well, direct["calls"])) and slowest(direct["calls"]) > SLACK / 2

    def wrong(self, n: Numbers, way: Way) -> str:
        return first_not(way["calls"], "200")
