"""What runs beside the policy now: connections that are open or tried, listeners that nobody sanctioned, and what was
denied since the last apply. The article looks for processes that go past the proxy with netstat; this is the same
look, and the policy's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hostguard import impact
from hostguard.control import MOST_SHOWN, Context, Verdict, first_of

EXPECTED = "no connection that the policy does not sanction"


def asks(_context: Context) -> Mapping[str, Any]:
    return {**impact.ASK, "denied": {"collect": "denied"}}


def judges(context: Context, said: Mapping[str, Any]) -> Verdict:
    """A connection fails it. A listener on a port that nobody sanctioned is named, and fails nothing: no one outside is
    answered by it."""
    egress = context.policy.egress
    assert egress is not None  # noqa: S101 - a control of this area is asked of a policy that has it
    found = [cut for cut in impact.cuts(egress, said["sockets"]) if not cut.sends_frames]
    connected, listening = (_named([cut for cut in found if cut.listens is listens]) for listens in (False, True))
    unanswered = f"answered by nobody: {listening}" if listening else ""
    text = "; ".join(filter(None, [connected or "none", unanswered, denials(said["denied"])]))
    if egress.mode == "observe":  # that is what observing is for: the control is waived by the policy itself
        return Verdict("pass", EXPECTED, f"enforcing would cut {text}" if found else text)
    return Verdict("fail" if connected else "pass", EXPECTED, text)


def _named(cuts: Sequence[impact.Cut]) -> str:
    return first_of(
        [f"{cut.process or 'a process that is not seen from here'}, {cut.account}: {cut.what}" for cut in cuts]
    )


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
