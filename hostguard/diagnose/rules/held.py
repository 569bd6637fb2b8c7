"""The host's own rules hold a connection: the policy does not name its destination."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said, Unread
from hostguard.policy.why import Question, answer

MOST = 20
"""Findings: the first of many tell enough."""
Key = tuple[str, str, str, int]
"""Account, protocol, address and port."""


def asks(asked: Asked) -> Mapping[str, Any] | str:
    egress = asked.policy.egress
    if egress is None:
        return "the policy has no section `egress`: nothing is held"
    if egress.mode == "observe":
        return "egress.mode: observe: nothing is held"
    return {"connections": {"collect": "connections"}, "denials": {"collect": "denials", "seconds": asked.since}}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread | Fact]:
    tried: dict[Key, Mapping[str, Any]] = {}
    for each in said["connections"]["groups"]:
        if each["state"] == "syn-sent":
            tried.setdefault((each["account"], "tcp", each["to"], each["port"]), each)
    if said["denials"] is None:
        yield Unread("this host has no journal of its kernel: what was denied before is not known")
    denied: dict[Key, int] = {
        (each["account"], each["protocol"], each["to"], each["port"]): each["count"] for each in said["denials"] or ()
    }
    found = [
        finding
        for key in {**tried, **denied}
        if (finding := _held(asked, key, tried.get(key), denied.get(key, 0))) is not None
    ]
    yield from found[:MOST]
    if len(found) > MOST:
        yield Fact(f"{len(found) - MOST} destinations more are held")


def _held(asked: Asked, key: Key, tried: Mapping[str, Any] | None, count: int) -> Finding | None:
    """None where the policy lets it through, or where that depends on a name."""
    account, protocol, to, port = key
    found = answer(asked.policy, Question(account or None, str(ipaddress.ip_address(to)), port, protocol))
    if found.may is not False:
        return None
    end = f"[{to}]:{port}" if ":" in to else f"{to}:{port}"
    now = f"{tried['process'] or 'a process that is not seen'} tries it now and nobody answers" if tried else ""
    before = f"{count} packets were denied within {asked.since:.0f} s" if count else ""
    where = ["`ss -tnp state syn-sent`"] if tried else []
    where += ["journalctl -k --grep 'hostguard deny'"] if count else []
    return Finding(
        subject=account or "no account",
        seen=f"{account or 'somebody'} to {end}/{protocol}: {'; '.join(filter(None, (now, before)))}",
        where=", ".join(where),
        means=f"the rules of this host drop it, since {found.decides.words}: an application sees a timeout, and no "
        "error",
        mend="; or ".join(reason.words for reason in found.others) or "no key opens it",
        key=found.decides.path,
    )


RULE = Rule(
    id="held",
    title="The host's own rules hold it",
    symptoms=("Connection timed out", "ETIMEDOUT", "Operation not permitted",
              "it works from another host, or as another user"),
    article="Step 1: Egress Filtering and Firewall Hardening",
    by_hand="""\
ss -tnp state syn-sent
journalctl -k --grep 'hostguard deny'       # or: hostguard watch
hostguard why ACCOUNT ADDRESS:PORT""",
    means="Under `egress.mode: enforce` what the policy does not name is dropped without a word: connect() waits until "
    "its timeout. The account counts as much as the address: under `via: proxy` the proxy alone reaches the providers.",
    mend="`hostguard why ACCOUNT DESTINATION` names the entry that would open it. If the application means to go "
    "through the gateway, it must be told so: its own address is `http://127.0.0.84:PORT`, or the socket.",
    looks_at="connections that nobody answers, and the log of what was denied, against the policy",
    asks=asks,
    judges=judges,
)  # fmt: skip
