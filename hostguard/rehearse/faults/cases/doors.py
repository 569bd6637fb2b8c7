"""Who may not."""

from __future__ import annotations

from hostguard.attack.aim import STRANGER
from hostguard.rehearse.faults.fault import SLACK, Fault, Key, Numbers, is_well, said, seconds
from hostguard.rehearse.faults.result import Way


class Stranger(Fault):
    id = "stranger"
    title = "an account asks that may not"
    account = STRANGER

    def unfit(self, n: Numbers) -> str:
        return f"{STRANGER} among its users" if STRANGER in n.own.users else ""

    def decides(self, n: Numbers) -> Key:
        return Key("users", ", ".join(n.own.users))

    def expected(self, n: Numbers) -> str:
        return "refused at once, and nothing is sent"

    def shows(self, direct: Way) -> bool:
        return all(map(is_well, direct["calls"]))

    def wrong(self, n: Numbers, way: Way) -> str:
        call = way["calls"][0]
        if way["reached"] or call["status"] is not None:
            return f"{said(call)}, and the provider was reached"
        return f"refused after {seconds(call['seconds'])}" if call["seconds"] > SLACK else ""
