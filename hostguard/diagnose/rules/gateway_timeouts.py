"""504: which part of a request took all of its time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hostguard.diagnose.gateway import (
    Failed,
    Kind,
    Reason,
    asks_of_log,
    by_provider,
    concerns,
    count,
    hosts,
    key,
    lines,
    many,
    seconds,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said

SLOW = 250
"""Milliseconds of a connection or a handshake: the article's whole time for a connection."""
TRY = "upstream_per_try_timeout"


def judge(each: Failed, _asked: Asked, _said: Said) -> Iterator[Finding]:
    by: dict[str, list[Kind]] = {}
    for kind in each.of(Reason.TIMEOUT):
        by.setdefault(part(kind), []).append(kind)
    for where, kinds in by.items():
        yield _finding(each, where, kinds)


def part(kind: Kind) -> str:
    """Which of the four it was."""
    took = {name: times[0] for name, times in kind.parts.items()}
    if took.get("connect", 0) > SLOW:
        return "network"
    if took.get("handshake", 0) > SLOW:
        return "handshake"
    return "body" if "ttfb" in took else "provider"


WORDS = {
    "network": ("the network: a connection alone took {connect} ms", "look for lost packets on the way (`mtr`)"),
    "handshake": ("the handshake: it took {handshake} ms, after {connect} ms for the connection",
                  "a provider that is short of CPU, or checks a client's certificate somewhere else: ask it"),
    "provider": ("the provider: it was reached, and sent no byte",
                 "ask the provider; where its work takes longer, raise `{path}` (now {limit})"),
    "body": ("the body: its first byte came after {ttfb} ms, the last one never",
             "ask for less at once (a page of results), or raise `{path}` (now {limit})"),
}  # fmt: skip


def _finding(each: Failed, where: str, kinds: list[Kind]) -> Finding:
    up = each.up
    of_try = sum(kind.count for kind in kinds if kind.detail == TRY) * 2 > count(kinds)
    path, limit = (("timeouts", "try"), up.per_try) if of_try else (("timeouts", "total"), up.total)
    took = {name: max(kind.parts[name][0] for kind in kinds if name in kind.parts) for name in _parts(kinds)}
    values = {"connect": 0, "handshake": 0, "ttfb": 0, **took, "path": ".".join(path), "limit": seconds(limit)}
    what, mend = WORDS[where]
    usual = f"; usual are {_told(each.usual)}" if each.usual else ""
    return Finding(
        subject=up.name,
        seen=f"{hosts(kinds)} did not answer {many(count(kinds), 'request')} in time{each.more}; it was "
        f"{what.format(**values)}{usual}",
        where=lines(kinds, f"flag UT, {kinds[0].detail}; {_told(took)}"),
        means=f"the application got 504 after {took.get('ms', 0) / 1000:.1f} s, of at most {seconds(up.total)}; what "
        f"is "
        "not safe to repeat was sent once, and may have been done",
        mend=mend.format(**values),
        key=key(up, *path),
        concerns=concerns(up),
    )


def _parts(kinds: list[Kind]) -> list[str]:
    return [name for name in ("connect", "handshake", "ttfb", "ms") if any(name in kind.parts for kind in kinds)]


def _told(took: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {ms} ms" for name, ms in took.items())


RULE = Rule(
    id="gateway-timeouts",
    title="The provider does not answer in time",
    symptoms=(
        "504",
        "504 UT",
        "Gateway Timeout",
        "upstream request timeout",
        "response_timeout",
        "HostguardProviderTimeouts",
    ),
    article="Gateway Timeout",
    by_hand=r"""grep '"flags":"[A-Z,]*UT' /var/log/hostguard-gateway/access.log | jq '{connect, handshake, ttfb, ms}'
curl -w '%{time_connect} %{time_appconnect} %{time_starttransfer} %{time_total}' https://api.provider.com""",
    means="A request has four parts: the connection (`connect`), the handshake, the time to the first byte (`ttfb`), "
    "and "
    "the rest of the body. The log has each of them. One that was never reached is not there: a request without `ttfb` "
    "waited for the provider.",
    mend="`timeouts.try` is the time of one try, `timeouts.total` that of all of them. Longer ones hold an "
    "application's "
    "thread for longer: raise them for a provider that works for long, not for one that is ill.",
    looks_at="flag UT of the gateway's log, and its four times",
    asks=asks_of_log,
    judges=by_provider(judge),
)
