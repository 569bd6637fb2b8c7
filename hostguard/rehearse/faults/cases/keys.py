"""The provider's key: changed, gone, or no longer renewed."""

from __future__ import annotations

from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import Fault, Key, Numbers, first_not, first_unrefused, requests
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Asked

BODY = 100_000


class _Keyed(Fault):
    accepts: tuple[str, ...] = ("new", "old")
    own = ""
    """The key that an application without a gateway has by now; "" for none."""

    def unfit(self, n: Numbers) -> str:
        return "" if n.up.credential else "no credential with a key"

    def answers(self, asked: Asked) -> None:
        if asked.key in self.accepts:
            asked.well()
        else:
            asked.reply(401)

    def calls(self, app: Application) -> None:
        for _ in range(5):
            app.call(app.n.unsafe, size=BODY, key=self.own)

    def decides(self, n: Numbers) -> Key:
        return Key("credential.secret", n.own.credential.place.name if n.own.credential else "")

    def _sent(self, way: Way) -> set[str]:
        return {each["key"] for each in requests(way)}


class Revoked(_Keyed):
    id = "key-revoked"
    title = "the old key is revoked, the new one is stored"
    accepts, own = ("new",), "old"

    def expected(self, n: Numbers) -> str:
        return "200, by the new key alone"

    def wrong(self, n: Numbers, way: Way) -> str:
        return first_not(way["calls"], "200") or ("" if self._sent(way) == {"new"} else "the old key was sent")


class TooEarly(_Keyed):
    id = "key-early"
    title = "the new key is stored, and not accepted yet"
    accepts, own = ("old",), "new"

    def unfit(self, n: Numbers) -> str:
        return super().unfit(n) or ("" if len(n.up.clusters) > 1 else "no old key, or one try alone")

    def expected(self, n: Numbers) -> str:
        return "200, by the new key and then the old one"

    def wrong(self, n: Numbers, way: Way) -> str:
        if problem := first_not(way["calls"], "200"):
            return problem
        order = [each["key"] for each in requests(way)]
        return "" if order == ["new", "old"] * len(way["calls"]) else f"keys were sent as {', '.join(order[:6])}"


class Empty(_Keyed):
    id = "key-empty"
    title = "the key's file is empty"
    keys = "empty"

    def calls(self, app: Application) -> None:
        app.call(app.n.unsafe, key=self.own)

    def expected(self, n: Numbers) -> str:
        return "503, and nothing is sent without a key"

    def wrong(self, n: Numbers, way: Way) -> str:
        if requests(way):
            return f"{len(requests(way))} requests were sent without a key"
        return first_unrefused(way, n.unconnected)


class AgentGone(_Keyed):
    id = "agent-gone"
    title = "nothing renews the key: the agent is down"

    def calls(self, app: Application) -> None:
        for _ in range(3):
            app.call(app.n.unsafe, key=self.own)
            app.pause(1)

    def expected(self, n: Numbers) -> str:
        return "200, by the key that is there"

    def wrong(self, n: Numbers, way: Way) -> str:
        return first_not(way["calls"], "200") or ("" if self._sent(way) == {"new"} else "another key was sent")
