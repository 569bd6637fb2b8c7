"""What the gateway's rules have in common: what they ask of a host, and why each request of the log failed (pure).

A fault has consequences: a certificate that ended gives failed handshakes, and after five of those an address that is
cut. So each request has one reason, and those that found no address left have that of the ones before them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hostguard.diagnose.rule import Asked, Finding, Said, Unread
from hostguard.policy.gateway import LOG, UNIT, XDS, Gateway, Upstream
from hostguard.response_flags import flags

LONGEST_EJECTION = 300.0
"""Seconds: Envoy's own, of an address that is cut again and again."""


class Reason(StrEnum):
    """Why a request was not answered well. One rule each."""

    PAYLOAD = "payload"
    KEY = "no key"
    KEY_REFUSED = "key refused"
    LIMITED = "limited"
    TLS = "tls"
    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    BREAKER = "breaker"
    RESET = "reset"
    FAILS = "the provider fails"
    NONE_LEFT = "none left"
    SLOW = "slow"
    WELL = "well"
    OTHER = "other"


@dataclass(frozen=True)
class Kind:
    """Requests that went the same way. Times are in seconds since 1970, `parts` in milliseconds: middle and most."""

    provider: str
    status: int
    slow: bool
    cluster: str
    host: str
    to: str
    flags: str
    detail: str
    failure: str
    refused: str
    tls: str
    count: int
    first: float
    last: float
    busiest: int
    tries: int
    retry_after: tuple[int, int] | None
    odd_retry_after: int
    parts: Mapping[str, tuple[int, int]]
    cert_ends: int
    cert_issuer: str


def gateway(asked: Asked) -> Gateway | None:
    return asked.sizing.gateway


def asks_of_state(asked: Asked) -> Mapping[str, Any] | str:
    g = gateway(asked)
    if g is None:
        return "the policy has no gateway"
    return {"state": {"collect": "gateway-state", "admin": g.admin, "xds": XDS if g.manage else ""}}


def asks_of_log(asked: Asked) -> Mapping[str, Any] | str:
    g = gateway(asked)
    state = asks_of_state(asked)
    if g is None or isinstance(state, str):
        return state
    if not g.manage:
        return "gateway.manage is false: the log is somebody else's"
    if g.log == "off":
        return "gateway.log is off: nothing is known of a request"
    slow = {up.name: math.ceil(up.p99 * 1000) for up in g.upstreams}
    return {**state, "log": {"collect": "gateway-log", "path": LOG, "since": asked.since, "slow": slow}}


@dataclass(frozen=True)
class Failed:
    """The requests of one provider, each kind with its reason."""

    g: Gateway
    up: Upstream
    kinds: tuple[tuple[Reason, Kind], ...]
    counters: Mapping[str, Mapping[str, int]]
    """By cluster of it, since the gateway was started."""
    usual: Mapping[str, int]
    """Milliseconds of each part of a good answer, before; {} where too few were logged."""
    total: float
    """Requests in this time, about: the gateway counts since it was started."""

    def of(self, *reasons: Reason) -> tuple[Kind, ...]:
        return tuple(kind for reason, kind in self.kinds if reason in reasons)

    def counted(self, name: str) -> int:
        return sum(each.get(name, 0) for each in self.counters.values())

    @property
    def more(self) -> str:
        """In words, what came of it for requests that followed; "" for nothing."""
        left = count(self.of(Reason.NONE_LEFT))
        return f"; {many(left, 'request')} more found its address cut" if left else ""

    @property
    def chief(self) -> Reason | None:
        """What cut its address: of the failures that count for that, the most frequent one. None where none is
        known."""
        numbers = {
            reason: count(self.of(reason))
            for reason in (Reason.TLS, Reason.UNREACHABLE, Reason.TIMEOUT, Reason.RESET, Reason.FAILS)
        }
        most = max(numbers, key=lambda reason: numbers[reason])
        return most if numbers[most] else None


Judge = Callable[[Failed, Asked, Said], Iterable[Finding | Unread]]


def by_provider(judge: Judge) -> Callable[[Asked, Said], Iterator[Finding | Unread]]:
    """The rule's own judge for each provider that is asked about. With no gateway that runs there is nothing to judge:
    that is another rule's fault."""

    def judges(asked: Asked, said: Said) -> Iterator[Finding | Unread]:
        log = said["log"]
        if not said["state"]["running"]:
            return
        if not log["there"]:
            yield Unread(f"{LOG} is not there: the gateway writes it from its start on")
        if log["more"]:
            yield Unread(f"{LOG}: {many(log['more'], 'request')} of more kinds than are told apart")
        for each in _failed(asked, said):
            yield from judge(each, asked, said)

    return judges


def _failed(asked: Asked, said: Said) -> Iterator[Failed]:
    g, log, state = gateway(asked), said["log"], said["state"]
    kinds = [Kind(**each) for each in log["kinds"]]
    up_for = max(1, state["own"].get("server.uptime", 0))
    if g is None:
        return
    for up in g.upstreams:
        if not asked.is_about(*concerns(up)):
            continue
        counters = {name: state["clusters"].get(name, {}) for name in up.clusters}
        mine = [kind for kind in kinds if kind.provider == up.name]
        done = sum(each.get("upstream_rq_completed", 0) for each in counters.values())
        share = min(1.0, asked.since / up_for)
        yield Failed(
            g,
            up,
            tuple((_reason(kind, counters.get(kind.cluster, {})), kind) for kind in mine),
            counters,
            log["usual"].get(up.name, {}),
            max(done * share, float(count(mine))),
        )


INJECTED = "failed_to_inject_credential"


def _reason(kind: Kind, counted: Mapping[str, int]) -> Reason:
    said = flags(kind.flags)
    theirs = kind.detail == "via_upstream"
    tests = (
        # Its own answer to one that did not fit the schema has the provider's detail.
        (Reason.PAYLOAD, bool(kind.refused) or kind.detail.endswith("_payload_too_large")),
        (Reason.KEY, kind.detail == INJECTED),
        (Reason.KEY_REFUSED, theirs and kind.status == 401),
        (Reason.LIMITED, theirs and kind.status == 429),
        (Reason.TLS, is_of_tls(kind.failure) and not theirs),
        (Reason.TLS, "UC" in said and refused_after_handshake(kind, counted)),
        (Reason.UNREACHABLE, "UF" in said or ("UH" in said and bool(kind.failure))),
        (Reason.TIMEOUT, "UT" in said),
        (Reason.BREAKER, "UO" in said),
        (Reason.RESET, bool({"UC", "UR", "UPE"} & set(said))),
        (Reason.NONE_LEFT, "UH" in said),
        (Reason.FAILS, theirs and kind.status >= 500),
        (Reason.SLOW, theirs and kind.slow),
        (Reason.WELL, theirs and not said),
    )
    return next((reason for reason, holds in tests if holds), Reason.OTHER)


def is_of_tls(failure: str) -> bool:
    """A connection that breaks within a handshake is told as an error of TLS's as well."""
    return failure.startswith("TLS_error") and "system_library" not in failure


def refused_after_handshake(kind: Kind, counted: Mapping[str, int]) -> bool:
    """In TLS 1.3 a server refuses a client's certificate when the client has ended its handshake: Envoy counts an
    error, which is no failed connection, and logs a connection that was closed."""
    errors, before = counted.get("ssl.connection_error", 0), counted.get("upstream_cx_connect_fail", 0)
    return kind.tls == "TLSv1.3" and errors > before


# Words


def many(number: float, word: str) -> str:
    return f"{number:,.0f} {word}{'' if number == 1 else 's'}"


def count(kinds: Iterable[Kind]) -> int:
    return sum(kind.count for kind in kinds)


def clock(at: float) -> str:
    """As the log has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def span(kinds: Sequence[Kind]) -> str:
    first, last = min(kind.first for kind in kinds), max(kind.last for kind in kinds)
    return f"at {clock(first)}" if clock(first) == clock(last) else f"from {clock(first)} to {clock(last)}"


def hosts(kinds: Iterable[Kind]) -> str:
    return ", ".join(dict.fromkeys(kind.host for kind in kinds if kind.host))


def lines(kinds: Sequence[Kind], what: str) -> str:
    """Where it stands in the log."""
    return f"{LOG}: {what}, {many(count(kinds), 'line')} {span(kinds)}"


def key(up: Upstream, *path: str) -> tuple[str, ...]:
    return ("gateway", "providers", up.name, *path)


def concerns(*ups: Upstream) -> tuple[str, ...]:
    """Told to a question about one of these providers, or about the gateway's own unit."""
    return (UNIT, *(up.name for up in ups))


def counter(up: Upstream, name: str, number: int) -> str:
    return f"cluster.{up.name}.{name} {number} at the admin's /stats"


def seconds(number: float) -> str:
    return f"{number:g} s"
