"""What runs beside the policy now: connections that are open or tried, listeners that nobody sanctioned, and what was
denied since the last apply. The article looks for processes that go past the proxy with netstat; this is the same
look, and the policy's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hostguard.control import Context, Severity, Verdict
from hostguard.controls.egress import impact

MOST_SHOWN = 5
EXPECTED = "no connection, and no listening service, that the policy does not sanction"


def asks(_context: Context) -> Mapping[str, Any]:
    return {**impact.ASK, "denied": {"collect": "denied"}}


def judges(context: Context, said: Mapping[str, Any]) -> Verdict:
    """Connections count as the control has it, and listeners alone low: nobody is answered by them."""
    egress = context.policy.egress
    assert egress is not None  # noqa: S101 - a control of this area is asked of a policy that has it
    found = [cut for cut in impact.cuts(egress, said["sockets"]) if not cut.sends_frames]
    denied = denials(said["denied"])
    if not found:
        return Verdict("pass", EXPECTED, f"none; {denied}")
    shown = [f"{cut.process or 'a process that is not seen from here'}, {cut.account}: {cut.what}" for cut in found]
    more = f"; and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
    text = f"{'; '.join(shown[:MOST_SHOWN])}{more}; {denied}"
    if egress.mode == "observe":  # that is what observing is for: the control is waived by the policy itself
        return Verdict("pass", EXPECTED, f"enforcing would cut {text}")
    listening = all(cut.listens for cut in found)
    return Verdict("fail", EXPECTED, text, Severity.LOW if listening else None)


def denials(said: Mapping[str, Any]) -> str:
    """What was denied, in words: packets by the rules' own counters, accounts by the journal."""
    counted = [number for number in said["packets"].values() if number is not None]
    if not counted:
        return "what was denied is not counted here"
    if not any(counted):
        return "nothing was denied since the rules were loaded"
    accounts = sorted(said["accounts"].items(), key=lambda item: -item[1])[:MOST_SHOWN]
    who = ", ".join(f"{account} {number}" for account, number in accounts)
    lines = f" (lines of the journal by account: {who})" if who else " (the journal names no account)"
    return f"{sum(counted)} packets were denied since the rules were loaded{lines}"
