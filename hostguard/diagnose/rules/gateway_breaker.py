"""The breaker is open: more at once than the policy allows."""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.diagnose.gateway import Failed, Reason, asks_of_log, by_provider, concerns, count, key, lines, many
from hostguard.diagnose.rule import Asked, Finding, Rule, Said

OPEN = {
    "rq_open": ("requests", "requests"),
    "rq_pending_open": ("requests that wait", "pending"),
    "rq_retry_open": ("retries", "retries"),
}
"""Not that of connections: those that are kept for later fill it too."""


def judge(each: Failed, _asked: Asked, _said: Said) -> Iterator[Finding]:
    refused = each.of(Reason.BREAKER)
    full = [name for name in OPEN if each.counted(f"circuit_breakers.default.{name}")]
    if refused or full:
        yield _finding(each, full)


def _finding(each: Failed, full: list[str]) -> Finding:
    up, refused = each.up, each.of(Reason.BREAKER)
    now = ", ".join(OPEN[name][0] for name in full)
    limits = {"connections": up.connections, "requests": up.requests, "pending": up.pending, "retries": up.retries}
    told = ", ".join(f"{name} {number}" for name, number in limits.items())
    seen = [f"{many(count(refused), 'request')} refused at once"] if refused else []
    seen += [f"now full: {now}"] if full else []
    overflow = ("upstream_rq_pending_overflow", "upstream_cx_overflow", "upstream_rq_retry_overflow")
    counted = ", ".join(f"{name} {each.counted(name)}" for name in overflow if each.counted(name))
    which = OPEN[full[0]][1] if full else ""
    return Finding(
        subject=up.name,
        seen=f"{'; '.join(seen)}; allowed are {told}",
        where="; ".join(
            [
                *([lines(refused, "flag UO")] if refused else []),
                f"cluster.{up.name}: {counted or 'circuit_breakers.default.*_open'} at the admin's /stats",
            ]
        ),
        means=f"{', '.join(up.users)} sends more at once than was planned, or answers take longer: what is under way "
        f"is the rate "
        "times the time of an answer. A refused request reached nobody, and may be sent again",
        mend="if the rate is right, raise `load` (peak_rps, p99), from which the breaker follows, and apply; else "
        "look for "
        "a loop of retries in the application",
        key=key(up, "breaker", which) if which else key(up, "breaker"),
        concerns=concerns(up),
    )


RULE = Rule(
    id="gateway-breaker",
    title="The breaker is open",
    symptoms=(
        "503 UO",
        "overflow",
        "upstream_reset_before_response_started{overflow}",
        "HostguardBreakerOpen",
        "HostguardRetriesLost",
    ),
    article="Step 3: circuit breaker",
    by_hand=r"""grep -c '"flags":"[A-Z,]*UO' /var/log/hostguard-gateway/access.log
curl --unix-socket /run/hostguard-gateway/admin/admin.sock 'http://admin/stats?filter=circuit_breakers|overflow'""",
    means="The breaker bounds what is under way to one provider, so that its slowness holds no thread and no memory of "
    "all others. By Little's law that is the rate times the time of an answer: it opens when either grows.",
    mend="`load.peak_rps` and `load.p99` say what a provider must carry; `breaker.*` are the numbers where they must "
    "be "
    "others. `hostguard size` shows the formula. A breaker that is far too large protects nobody.",
    looks_at="flag UO of the gateway's log, the breakers' gauges",
    asks=asks_of_log,
    judges=by_provider(judge),
)
