"""A provider closes connections that are still in use: 503 UC."""

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

WORKED = 1000
"""Milliseconds after which it was no connection that lay idle."""
DESTROYED = "upstream_cx_destroy_remote_with_active_rq"


def judge(each: Failed, _asked: Asked, _said: Said) -> Iterator[Finding]:
    found = each.of(Reason.RESET)
    cut = [kind for kind in found if "UPE" in kind.flags or "after_response_started" in kind.detail]
    closed = [kind for kind in found if kind not in cut]
    if closed:
        yield _closed(each, closed)
    if cut:
        yield _cut(each, cut)


def _closed(each: Failed, found: list[Kind]) -> Finding:
    up = each.up
    took = max(kind.parts.get("ms", (0, 0))[0] // max(1, kind.tries) for kind in found)
    busy = took >= WORKED
    idle = f"ours are kept for {seconds(up.idle)} without a request; it keeps them for less, or for some requests only"
    why = f"it had worked for some {took} ms: something ends its work" if busy else idle
    return Finding(
        subject=up.name,
        seen=f"{hosts(found)} closed the connection under {many(count(found), 'request')}{each.more}",
        where=f"{lines(found, 'flag UC')}; {counter(up, DESTROYED, each.counted(DESTROYED))}",
        means=f"{why}. A request that may go again was tried again; a POST without "
        f"{up.retry.idempotency_header or 'an idempotency header'} is answered 503, and may have been done",
        mend="ask the provider what ends there: a deployment, a limit of memory or time"
        if busy
        else f"set `timeouts.idle` (now {seconds(up.idle)}) below the time for which the provider keeps a connection",
        key=key(up, "timeouts", "idle"),
        unsure="Envoy does not log for how long a connection had been idle",
        concerns=concerns(up),
    )


def _cut(each: Failed, found: list[Kind]) -> Finding:
    up = each.up
    return Finding(
        subject=up.name,
        seen=f"{hosts(found)} broke off {many(count(found), 'answer')} in the middle{each.more}",
        where=lines(found, "status 502, flag UPE, UC or UR after its answer began"),
        means="the application got 502 and no half answer: the provider, or something between, ends the connection "
        "while it sends",
        mend="ask the provider for its limits of size and time; a smaller page of results may be whole",
        key=key(up, "payload"),
        concerns=concerns(up),
    )


RULE = Rule(
    id="gateway-resets",
    title="The provider closes connections in use",
    symptoms=(
        "503 UC",
        "upstream_reset_before_response_started{connection_termination}",
        "Connection reset by peer",
        "HostguardProviderResets",
    ),
    article="Upstream Reset",
    by_hand=r"""tail -f /var/log/hostguard-gateway/access.log | grep '"flags":"[A-Z,]*UC'""",
    means="The gateway keeps connections open and uses them again. A provider that closes one at the same moment takes "
    "the request with it. It happens again and again where the provider's own limit of idle time is shorter than ours, "
    "or where it closes a connection after a number of requests. HTTP/1 tells it as UC, HTTP/2 as UR.",
    mend="Set `timeouts.idle` a few seconds below the provider's own. Where requests may be repeated, say so: "
    "`retry.safe` and `retry.idempotency_header`.",
    looks_at="flags UC, UR and UPE of the gateway's log",
    asks=asks_of_log,
    judges=by_provider(judge),
)
