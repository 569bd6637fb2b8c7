"""Answers that are right and late: the provider, or this side of it."""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.diagnose.gateway import (
    Failed,
    Kind,
    Reason,
    asks_of_log,
    by_provider,
    concerns,
    count,
    counter,
    hosts,
    key,
    lines,
    many,
    seconds,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said

SHARE = 0.01
"""Of all requests: the objective is one of the 99th percentile."""
LEAST = 3
GRAVE, EARLY = 2000, 500
"""Milliseconds: the article's limits."""


def judge(each: Failed, _asked: Asked, _said: Said) -> Iterator[Finding]:
    slow = each.of(Reason.SLOW)
    number = count(slow)
    if number < LEAST or number <= SHARE * each.total:
        return
    theirs = [kind for kind in slow if 2 * _middle(kind, "ttfb") >= _middle(kind, "ms")]
    ours = [kind for kind in slow if kind not in theirs]
    for kinds, whose in ((theirs, "the provider"), (ours, "this side of it")):
        if kinds:
            yield _finding(each, kinds, whose)


def _middle(kind: Kind, part: str) -> int:
    return kind.parts.get(part, (0, 0))[0]


def _finding(each: Failed, kinds: list[Kind], whose: str) -> Finding:
    up = each.up
    took = max(_middle(kind, "ms") for kind in kinds)
    first = max(_middle(kind, "ttfb") for kind in kinds)
    limit = next((limit for limit in (GRAVE, EARLY) if took >= limit), None)
    past = f", past {limit} ms" if limit else ""
    usual = f"; usual are {each.usual['ttfb']} and {each.usual['ms']} ms" if {"ttfb", "ms"} <= each.usual.keys() else ""
    provider, full = whose == "the provider", each.counted("upstream_cx_overflow")
    return Finding(
        subject=up.name,
        seen=f"{many(count(kinds), 'answer')} of {hosts(kinds)} took longer than {seconds(up.p99)}, half of them "
        f"{took} ms or "
        f"more{past}, and {first} ms of it to the first byte{usual}",
        where=lines(kinds, "`ms` and `ttfb`")
        + (f"; {counter(up, 'upstream_cx_overflow', full)}" if full and not provider else ""),
        means="it is the provider: the gateway had sent the request, and waited"
        if provider
        else f"it is this side of it: {'requests waited for a connection' if full else 'tries before, or a long body'}",
        mend="ask the provider; `objective.p99` is what counts as slow, and `timeouts.try` what is given up"
        if provider
        else "raise `load`, from which the connections follow; see also the sizes of answers (`sent` of the log)",
        key=key(up, "objective", "p99") if provider else key(up, "breaker", "connections"),
        concerns=concerns(up),
    )


RULE = Rule(
    id="gateway-slow",
    title="Answers come late",
    symptoms=(
        "latency spikes",
        "P99 above 500 ms",
        "P99 above 2000 ms",
        "HostguardProviderSlow",
        "HostguardProviderVerySlow",
    ),
    article="Latency spikes",
    by_hand=r"""jq -r 'select(.ms > 500) | [.at, .ttfb, .ms] | @tsv' /var/log/hostguard-gateway/access.log""",
    means="`ttfb` is the time from the last byte of the request to the first one of the answer: the provider's own. "
    "`ms` is the whole, as the application sees it. What lies between them is a wait for a connection, tries before "
    "this one, or the body.",
    mend="A provider's time is the provider's. Ours goes down with connections (`load`, from which the breaker "
    "follows) "
    "and with smaller answers. Alerts are at 500 and 2,000 ms.",
    looks_at=f"answers above `objective.p99`, where they are more than {SHARE:.0%}, and their time to the first byte",
    asks=asks_of_log,
    judges=by_provider(judge),
)
