"""The process itself: its admin, its counts, and its limits."""

from __future__ import annotations

from hostguard.controls.gateway import metrics
from hostguard.controls.gateway.envoy.places import Places
from hostguard.controls.gateway.envoy.tree import Tree, typed
from hostguard.host.envoy_admin import DUMP
from hostguard.policy.gateway import Gateway

ADMIN_PATHS = (
    "/certs",
    "/clusters",
    "/drain_listeners",
    "/listeners",
    "/ready",
    "/reopen_logs",
    "/server_info",
    "/stats",
    "/stats/prometheus",
)
"""What hostguard asks for. None of it ends the process or changes what it does to a request."""


def process(g: Gateway, places: Places) -> Tree:
    return {
        "node": {"id": "hostguard", "cluster": "hostguard"},
        "admin": {
            "address": {"pipe": {"path": places.admin, "mode": 0o600}},
            # An exact match is one of the path with its query.
            "allow_paths": [{"safe_regex": {"regex": rf"({'|'.join(ADMIN_PATHS)})(\?.*)?"}}, {"exact": DUMP}],
        },
        "stats_config": metrics.stats_config(),
        "overload_manager": _overload(g),
    }


def _overload(g: Gateway) -> Tree:
    heap, monitors = "envoy.resource_monitors.fixed_heap", "extensions.resource_monitors."
    connections = "envoy.resource_monitors.global_downstream_max_connections"
    return {
        "resource_monitors": [
            typed(heap, monitors + "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=g.heap_max),
            typed(
                connections,
                monitors + "downstream_connections.v3.DownstreamConnectionsConfig",
                max_active_downstream_connections=g.connections_max,
            ),
        ],
        "actions": [
            {"name": f"envoy.overload_actions.{name}", "triggers": [{"name": heap, "threshold": {"value": at}}]}
            for name, at in (("shrink_heap", 0.9), ("stop_accepting_requests", 0.95))
        ],
    }
