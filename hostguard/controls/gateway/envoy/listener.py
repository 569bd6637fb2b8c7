"""Listeners: where applications connect."""

from __future__ import annotations

from typing import Any

from hostguard.controls.gateway import lua, metrics
from hostguard.controls.gateway.envoy.access_log import counted, log, status
from hostguard.controls.gateway.envoy.cluster import ADMIN, WAIT
from hostguard.controls.gateway.envoy.places import Places
from hostguard.controls.gateway.envoy.route import READY, routes
from hostguard.controls.gateway.envoy.tree import Tree, lua_filter, tcp, typed
from hostguard.policy.gateway import Gateway, Upstream

METRICS = "metrics"


def listeners(g: Gateway, places: Places) -> list[Tree]:
    found = []
    for up in sorted(g.upstreams, key=lambda up: up.name):
        filters = [_manager(g, up, places)]
        if up.listen is not None:
            found.append(_listener(g, f"{up.name}-port", tcp(g.address, up.listen), filters))
        if up.group is not None:  # who may come in is the folder's business; a living listener keeps its mode
            pipe = {"pipe": {"path": places.bound(up.name), "mode": 0o660}}
            found.append(_listener(g, f"{up.name}-socket", pipe, filters))
    if g.metrics_listen is not None:
        scraped = _listener(g, METRICS, tcp(g.address, g.metrics_listen), [_metrics()])
        # A gateway that refuses requests for want of memory still says so.
        found.append({**scraped, "ignore_global_conn_limit": True, "bypass_overload_manager": True})
    return found


def _listener(g: Gateway, name: str, address: Tree, filters: list[Tree]) -> Tree:
    chain = {"filters": filters}
    return {"name": name, "address": address, "per_connection_buffer_limit_bytes": g.buffer, "filter_chains": [chain]}


def _http(name: str, routes: list[Tree], filters: list[Tree], virtual_host: Tree, **fields: Any) -> Tree:
    host = {"name": name, "domains": ["*"], "routes": routes, **virtual_host}
    router = typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    return typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=name,
        route_config={"name": name, "virtual_hosts": [host]},
        http_filters=[*filters, router],
        server_header_transformation="PASS_THROUGH",
        generate_request_id=False,
        preserve_external_request_id=True,
        request_headers_timeout="5s",
        **fields,
    )


def _manager(g: Gateway, up: Upstream, places: Places) -> Tree:
    checked = [] if up.payload.stream else [lua_filter(lua.source(up.payload))]
    limit = typed(
        "envoy.filters.http.body_size_limit",
        "extensions.filters.http.body_size_limit.v3.BodySizeLimit",
        max_request_bytes=up.payload.request_max,
    )
    unasked = ["x-forwarded-proto", *(["accept-encoding"] if up.payload.schema is not None else [])]
    return _http(
        up.name,
        routes(up),
        [_ready(), limit, *checked],
        {"request_headers_to_remove": unasked, "response_headers_to_remove": [WAIT]},
        access_log=[*log(g, up, places), counted(up)],
        local_reply_config=_own_answers(),
        # An application says http; HTTP/2 repeats the scheme, to a provider that is asked by https.
        scheme_header_transformation={"match_upstream": True},
    )


def _ready() -> Tree:
    """It marks a balancer's questions as such: in counts and logs they would dilute what alerts are measured by."""
    asked = [{"name": ":path", "string_match": {"exact": READY}}]
    kind = "extensions.filters.http.health_check.v3.HealthCheck"
    return typed("envoy.filters.http.health_check", kind, pass_through_mode=True, headers=asked)


def _own_answers() -> Tree:
    """An answer that is the gateway's own says so, and why. Its own 401 is that of a key which is not there: the
    application can't do anything about it, and must not take it for the provider's."""
    reason = {"header": {"key": "x-hostguard-reason", "value": "%RESPONSE_CODE_DETAILS%"}}
    told = {"headers_to_add": [reason]}
    return {
        "mappers": [{"filter": status("EQ", 401), "status_code": 503, **told}, {"filter": status("GE", 400), **told}]
    }


def _metrics() -> Tree:
    """GET /metrics, and nothing else of the admin."""
    # Of a path that is matched as such the query would be handed on: `?filter=` is the admin's.
    asked = [
        {"name": name, "string_match": {"exact": exact}} for name, exact in ((":method", "GET"), (":path", "/metrics"))
    ]
    route = {
        "match": {"path": "/metrics", "headers": asked},
        "route": {"cluster": ADMIN, "timeout": "10s", "prefix_rewrite": metrics.SCRAPED},
    }
    return _http(METRICS, [route], [], {})
