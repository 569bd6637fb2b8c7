"""No connection at all: refused, no way, or nobody answers."""

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
    key,
    lines,
    many,
    seconds,
)
from hostguard.diagnose.rule import Asked, Finding, Rule, Said

HELD = ("No_route_to_host", "Operation_not_permitted", "Permission_denied")
"""What a rule that rejects makes of a connection, ours or another's."""


def judge(each: Failed, _asked: Asked, _said: Said) -> Iterator[Finding]:
    by: dict[tuple[str, str, str, tuple[str, ...]], list[Kind]] = {}
    for kind in each.of(Reason.UNREACHABLE):
        by.setdefault((kind.host, *_words(each, kind)), []).append(kind)
    for (host, what, mend, path), kinds in by.items():
        to = ", ".join(dict.fromkeys(kind.to for kind in kinds if kind.to))
        yield Finding(
            subject=f"{each.up.name} ({host})",
            seen=f"{what} at {to or host}: {many(count(kinds), 'request')} came to no connection{each.more}",
            where=lines(kinds, f"flag UF, `failure` {kinds[0].failure or 'null'}, {kinds[0].detail}"),
            means="nothing was sent. Each try waits for as long as a connection may take, then another region is "
            "asked where there is one; the application gets 503",
            mend=mend,
            key=path if path[:1] == ("egress",) else key(each.up, *path),
            concerns=concerns(each.up),
        )


def _words(each: Failed, kind: Kind) -> tuple[str, str, tuple[str, ...]]:
    """What was seen, what to do, and the key of it."""
    failure, up = kind.failure, each.up
    if any(word in failure for word in HELD):
        mend = "`hostguard prove` tells whether our rules hold it; else ask the network"
        return "no way there (or a rule refuses it)", mend, ("egress",)
    if "refused" in failure:
        mend = f"the provider does not listen on port {up.port}, or not there: see its status page"
        return "the connection was refused", mend, ("port",)
    if "timeout" in kind.detail or "UH" in kind.flags:
        return (
            f"nobody answered within {seconds(up.connect)}",
            "try it by hand as the gateway's account (`nc -zv`); if it only takes longer, raise `timeouts.connect`",
            ("timeouts", "connect"),
        )
    return "the connection broke before its handshake ended", "ask the provider, or whoever stands between", ("host",)


RULE = Rule(
    id="gateway-unreachable",
    title="No connection to the provider",
    symptoms=("503 UF", "Connection refused", "No route to host", "delayed_connect_error", "connection_timeout"),
    article="Dependency Fault Lines: DNS TTL, black hole",
    by_hand=r"""grep '"flags":"[A-Z,]*UF' /var/log/hostguard-gateway/access.log | tail
runuser -u envoy -- nc -zv -w 1 api.provider.com 443""",
    means="A SYN was refused, was answered by a router, or by nobody. Refused: a machine is there, and no service. No "
    "route, or not permitted: a router or a rule of a firewall says so, this host's own included. Nobody: a rule that "
    "drops, a route into nowhere, or an address that the provider has left.",
    mend="`hostguard why envoy HOST:PORT` tells whether the policy allows it, `hostguard prove` whether the kernel "
    "does. "
    "An address that was left comes of a name that is not followed: see gateway-names.",
    looks_at="flag UF of the gateway's log",
    told_by=("tls", "unreachable"),
    asks=asks_of_log,
    judges=by_provider(judge),
)
