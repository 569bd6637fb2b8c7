"""429: the provider takes fewer requests than are sent."""

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
    hosts,
    key,
    lines,
    many,
    seconds,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said
from hostguard.policy.gateway import load_of

LONGEST_WAIT = 59
"""Seconds: the most that a policy may let a request wait."""


def judge(each: Failed, asked: Asked, _said: Said) -> Iterator[Finding]:
    found = each.of(Reason.LIMITED)
    if found:
        yield _finding(asked, each, found)


def _finding(asked: Asked, each: Failed, found: tuple[Kind, ...]) -> Finding:
    up = each.up
    waits = [wait for kind in found for wait in kind.retry_after or ()]
    load = load_of(asked.policy, up.name)
    peak = f"the policy plans {load.peak_rps:g} requests a second (load.peak_rps)" if load else "no load is planned"
    mend, path = _mend(each, waits)
    return Finding(
        subject=up.name,
        seen=f"{hosts(found)} answered {many(count(found), 'request')} with 429, {many(_busiest(found), 'time')} in "
        f"one "
        f"second; {_told(found, waits)}{_allowed(each)}",
        where=lines(found, "status 429, `retry_after`"),
        means=f"{peak}, and the provider takes fewer. One that says at most {seconds(up.retry.wait_max)} is waited "
        f"for; "
        "a longer one is handed on at once with its header",
        mend=mend,
        key=key(up, *path),
        concerns=concerns(up),
    )


def _busiest(found: tuple[Kind, ...]) -> int:
    return max(kind.busiest for kind in found)


def _told(found: tuple[Kind, ...], waits: list[int]) -> str:
    none = count(found) if not waits else 0
    if none:
        return "no Retry-After says for how long"
    return f"Retry-After {min(waits)} s" if min(waits) == max(waits) else f"Retry-After {min(waits)} to {max(waits)} s"


def _allowed(each: Failed) -> str:
    """Where all are logged: what it took in its busiest second."""
    took = max((kind.busiest for kind in each.of(Reason.WELL, Reason.SLOW)), default=0)
    return f"; it took at most {took} in one second" if each.g.log == "all" and took else ""


def _mend(each: Failed, waits: list[int]) -> tuple[str, tuple[str, ...]]:
    up = each.up
    longest = max(waits, default=0)
    quota = "ask the provider for a larger quota, or send less: lower `load.peak_rps`, and the breaker with it"
    if up.retry.wait_max < longest <= LONGEST_WAIT:
        wait = f"raise `retry.wait_max` (now {seconds(up.retry.wait_max)}) to {longest} s for those who can wait"
        return f"{wait}; else {quota}", ("retry", "wait_max")
    return quota, ("load", "peak_rps")


RULE = Rule(
    id="gateway-rate",
    title="The provider takes fewer requests than are sent",
    symptoms=("429", "Too Many Requests", "rate limit exceeded", "Retry-After", "HostguardRateLimited"),
    article="Too Many Requests",
    by_hand=r"""grep '"status":429' /var/log/hostguard-gateway/access.log | grep -o '"retry_after":[^,]*'""",
    means="The provider counts requests, mostly by key, and answers the rest with 429 and a Retry-After. The gateway "
    "waits for a short one, a little longer than it says so that not all come at once, and hands a long one on.",
    mend="Send less (`load.peak_rps`, caches, batches), or ask for a quota. `retry.wait_max` is the longest wait, "
    "below "
    "a minute: a request that waits holds a thread of its application.",
    looks_at="status 429 of the gateway's log, and its Retry-After",
    asks=asks_of_log,
    judges=by_provider(judge),
)
