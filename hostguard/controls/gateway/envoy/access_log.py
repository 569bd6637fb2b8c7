"""What is told of a request."""

from __future__ import annotations

import math

from hostguard.controls.gateway import metrics
from hostguard.controls.gateway.envoy.places import Places
from hostguard.controls.gateway.envoy.tree import Tree, typed
from hostguard.policy.gateway import Gateway, Upstream

SAMPLED = 1000
"""One of so many requests is logged although it went well: the log alone says when a provider's certificate ends."""
LOGGED = {
    "at": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "id": "%REQ(X-REQUEST-ID)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "detail": "%RESPONSE_CODE_DETAILS%",
    "refused": "%DYNAMIC_METADATA(hostguard:refused)%",
    "retry_after": "%RESP(RETRY-AFTER)%",
    "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "host": "%UPSTREAM_HOST_NAME_WITHOUT_PORT%",
    "to": "%UPSTREAM_HOST%",
    "failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    "tls": "%UPSTREAM_TLS_VERSION%",
    "cert_ends": "%UPSTREAM_PEER_CERT_V_END%",
    "cert_issuer": "%UPSTREAM_PEER_ISSUER%",
    "connect": "%COMMON_DURATION(US_CX_BEG:US_CX_END:ms)%",
    "handshake": "%COMMON_DURATION(US_CX_END:US_HS_END:ms)%",
    "ttfb": metrics.FIRST_BYTE,
    "ms": "%DURATION%",
    "received": "%BYTES_RECEIVED%",
    "sent": "%BYTES_SENT%",
}
"""Times in milliseconds; `flags` may be several, with commas. No path and no payload: they may hold what is private."""
ASKED: Tree = {"not_health_check_filter": {}}
"""What an application asked, and not a balancer."""


def log(g: Gateway, up: Upstream, places: Places) -> list[Tree]:
    if g.log == "off":
        return []
    logger = typed(
        "envoy.access_loggers.file",
        "extensions.access_loggers.file.v3.FileAccessLog",
        path=places.log,
        log_format={"json_format": {"provider": up.name, "users": list(up.users), **LOGGED}},
    )
    chosen = ASKED if g.log == "all" else {"and_filter": {"filters": [ASKED, _failures(up)]}}
    return [{**logger, "filter": chosen}]


def _failures(up: Upstream) -> Tree:
    """No 2xx, not whole, or slower than its objective; and a few of the others."""
    sampled = {"percent_sampled": {"numerator": 1_000_000 // SAMPLED, "denominator": "MILLION"}}
    any_of = [
        status("LE", 199),  # 0 where nobody was left to answer
        status("GE", 300),
        {"response_flag_filter": {}},
        {"duration_filter": _compare("GE", math.ceil(up.p99 * 1000))},
        {"runtime_filter": {"runtime_key": "hostguard.log", **sampled}},
    ]
    return {"or_filter": {"filters": any_of}}


def status(op: str, code: int) -> Tree:
    return {"status_code_filter": _compare(op, code)}


def _compare(op: str, value: int) -> Tree:
    """Envoy wants a key by which its runtime could change the number; nothing here sets one."""
    return {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "hostguard.log"}}}


def counted(up: Upstream) -> Tree:
    kind = "extensions.access_loggers.stats.v3.Config"
    return {**typed("envoy.access_loggers.stats", kind, **metrics.of_requests(up)), "filter": ASKED}
