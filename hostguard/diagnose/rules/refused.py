"""Without a gateway: a provider says 429 or 401, and an application's log tells of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose.rule import Asked, Finding, Rule, Said, Unread
from hostguard.policy.document import Path

TOO_MANY, NOT_KNOWN = "429", "401"
STATUS = r"(?:HTTP/[0-9.]+\"? |[Ss]tatus(?:[_ ]?[Cc]ode)?[\"'=: ]+){}\b"
WORDS = {
    TOO_MANY: f"(?i:too many requests)|{STATUS.format(TOO_MANY)}|\\b429 Client Error",
    NOT_KNOWN: f"\\b401 (?:Client Error|Unauthorized)|{STATUS.format(NOT_KNOWN)}",
}
WAIT = r"(?i:retry.?after)\W{1,5}([0-9]{1,6})\b"
UNSURE = "an application's own words were counted, and which provider it means they do not say"


def asks(asked: Asked) -> Mapping[str, Any] | str:
    if asked.policy.gateway is not None:
        return "the gateway's own log tells of it"
    units = [unit for unit in asked.units if asked.is_about(unit)]
    if not units:
        return "the policy names no unit under `limits` or `slices` that may call a provider"
    return {"words": {"collect": "log-counts", "units": units, "seconds": asked.since, "words": WORDS, "wait": WAIT}}


def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread]:
    if said["words"] is None:
        yield Unread("this host has no journal: what units say is not known")
        return
    for unit in asked.units:
        if asked.is_about(unit):
            each = said["words"][unit]
            if each["counts"][TOO_MANY]:
                yield _too_many(asked, unit, each)
            if each["counts"][NOT_KNOWN]:
                yield _not_known(asked, unit, each)


def _too_many(asked: Asked, unit: str, each: Mapping[str, Any]) -> Finding:
    waits = each["waits"]
    span = f"{min(waits)}" if len({*waits}) == 1 else f"from {min(waits)} to {max(waits)}" if waits else ""
    told = f", Retry-After {span} s" if waits else ""
    capacity = asked.policy.capacity
    key: Path = ("capacity", "peak_rps") if capacity else ()
    rate = f": `peak_rps` is {capacity.peak_rps:g}" if capacity else ""
    return Finding(
        subject=unit,
        seen=f"{each['counts'][TOO_MANY]} lines of its log within {asked.since:.0f} s tell of 429{told}",
        where=f"journalctl -u {unit}",
        means="a provider takes fewer requests than are sent: each that is sent again at once makes it worse",
        mend=f"wait as long as Retry-After says, with jitter, or send less; ask for a higher quota{rate}. The gateway "
        "does the waiting for all applications (docs/gateway.md)",
        key=key,
        unsure=UNSURE,
        concerns=(unit,),
    )


def _not_known(asked: Asked, unit: str, each: Mapping[str, Any]) -> Finding:
    return Finding(
        subject=unit,
        seen=f"{each['counts'][NOT_KNOWN]} lines of its log within {asked.since:.0f} s tell of 401",
        where=f"journalctl -u {unit}",
        means="a provider does not take the key: it was revoked or rotated, is not read anew, or is signed with a "
        "wrong clock",
        mend="let the unit read its key anew; `secrets.agent` keeps it fresh, and the gateway tries the old one after "
        "the new one (docs/secrets.md)",
        key=("secrets",) if asked.policy.secrets else (),
        unsure=UNSURE,
        concerns=(unit,),
    )


RULE = Rule(
    id="refused",
    title="A provider refuses requests (429, 401), on a host without a gateway",
    symptoms=("429 Too Many Requests", "401 Unauthorized", "Retry-After"),
    article="Too Many Requests, 429; API key rotation, 401",
    by_hand="""\
journalctl -u UNIT --since -1h --grep '429|Too Many Requests|401'""",
    means="429 says that requests come faster than the provider allows, and Retry-After for how long to send none. 401 "
    "says that it does not know the key. Without a gateway only the application knows: what is counted are words in "
    "its log. None of its lines leaves the host.",
    mend="429: wait with jitter as long as Retry-After says; one client for all processes of the host, not one each. "
    "401: a key that comes by `secrets.agent`, read anew when its file changes. A gateway does both for every "
    "application.",
    looks_at="words in the logs of the policy's units",
    asks=asks,
    judges=judges,
)
