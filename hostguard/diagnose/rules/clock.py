"""The clock is wrong, and with it signatures, tokens and certificates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.controls.platform import STA_UNSYNC, TIME_ERROR
from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Said

MOST = 1.0
"""Seconds. Signed requests are commonly good for 300, tokens begin at once."""
SERVERS, SYNC = ("egress", "time_servers"), ("platform", "clock_sync")
MEANS = (
    "a signature with a time in it (HMAC, JWT) is refused with 401 or 403, a certificate is expired or not yet valid, "
    "and times in logs do not fit the provider's"
)


def asks(asked: Asked) -> Mapping[str, Any] | str:
    egress, platform = asked.policy.egress, asked.policy.platform
    found: dict[str, Any] = {}
    if platform is None or platform.clock_sync != "off":
        found["clock"] = {"collect": "adjtimex"}
    if asked.probes and egress and egress.time_servers:
        found["servers"] = {"collect": "time-offsets", "servers": [str(each) for each in egress.time_servers]}
    return found or "the policy asks for no kept clock, and no time server of it is asked"


def judges(asked: Asked, said: Said) -> Iterator[Finding | Fact]:
    named = asked.policy.egress.time_servers if asked.policy.egress and "servers" in said else ()
    servers = {str(server): said["servers"][str(server)] for server in named}
    off = {server: each["offset"] for server, each in servers.items() if not each["error"]}
    yield from (Fact(f"{server} is {offset:+.3f} s ahead") for server, offset in off.items() if abs(offset) <= MOST)
    for server, each in servers.items():
        if each["error"]:
            yield _unheard(server, each["error"])
        elif abs(each["offset"]) > MOST:
            way = "behind" if each["offset"] > 0 else "ahead of"
            agree = [other for other in off if other != server and abs(off[other] - off[server]) <= MOST]
            lone = len(off) > 1 and not agree
            yield Finding(
                subject="the clock",
                seen=f"it is {abs(each['offset']):.1f} s {way} {server}",
                where=f"NTP question to {server}:123",
                means=MEANS,
                mend=f"let chrony or systemd-timesyncd keep it by {server}; `chronyc makestep` sets it at once",
                key=SERVERS,
                unsure="the time servers do not agree with each other" if lone else "",
            )
    clock = said.get("clock")
    if clock and (clock["code"] == TIME_ERROR or clock["status"] & STA_UNSYNC) and not off:
        yield Finding(
            subject="the clock",
            seen=f"nobody keeps it: the kernel says that it may be off by {clock['maxerror'] / 1e6:.1f} s",
            where="status of adjtimex(2), STA_UNSYNC",
            means=MEANS,
            mend="start chrony or systemd-timesyncd with the policy's time servers",
            key=SYNC,
            unsure="an unkept clock may be right; no time server said what time it is",
        )


def _unheard(server: str, error: str) -> Finding:
    how = "no answer within 2 s" if error == "silent" else error
    return Finding(
        subject=f"time server {server}",
        seen=how,
        where=f"NTP question to {server}:123",
        means="the clock drifts, by a second in a day or two, and nobody sees it",
        mend="bring it back, or put another one in its place under `time_servers`, and apply",
        key=SERVERS,
    )


RULE = Rule(
    id="clock",
    title="The clock is wrong, or nobody keeps it",
    symptoms=("timestamp outside of the window", "RequestTimeTooSkewed", "token used before issued",
              "invalid signature", "certificate is not yet valid", "iat in the future"),
    article="HMAC-SHA256 request signing; Network Time Protocol",
    by_hand="""\
chronyc tracking || timedatectl timesync-status
chronyd -Q 'server 10.0.0.3 iburst'        # asks, and sets nothing""",
    means="A signed request holds the time at which it was signed, and a provider refuses what is some minutes old "
    "or from the future. Without a daemon that keeps it a clock loses about a second in a day; a virtual machine that "
    "is resumed loses hours at once.",
    mend="`egress.time_servers` opens the way to the servers and starts no daemon: chrony or systemd-timesyncd keeps "
    "the clock. `platform.clock_sync: required` makes the audit fail where none does.",
    looks_at="the kernel's word about its clock, and the time of each time server of the policy",
    asks=asks,
    judges=judges,
)  # fmt: skip
