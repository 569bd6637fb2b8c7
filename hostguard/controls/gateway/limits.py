"""Whether every request has an end, in time and in size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway import dump
from hostguard.controls.gateway.dump import Tree
from hostguard.policy.gateway import Gateway

EXPECTED = "every request to a provider ends in time, its body is bounded, and so are the connections"
LONGEST = 300.0
"""Seconds; the most that a policy may let a request take."""
OWN_TIMEOUT = "15s"
"""Envoy's own, of a route that says none."""
CONNECTIONS = "envoy.resource_monitors.global_downstream_max_connections"


def judges(_g: Gateway, said: Mapping[str, Any]) -> Verdict:
    told = said["envoy"]["config_dump"]
    out = {cluster.name for cluster in dump.clusters(told)}
    found: list[str] = []
    looked_at = 0
    for listener, manager in dump.managers(told):
        leading = [route for route in dump.routes(told, manager) if leads(route["route"], out)]
        looked_at += len(leading)
        found += [f"{listener} {why}" for route in leading for why in _endless(route)]
        if leading and not _bounded(manager, leading):
            found.append(f"{listener} takes bodies of any length (no body_size_limit, no request_body_buffer_limit)")
    if not looked_at:
        found.append("no route leads to another host")
    monitors = dump.bootstrap(told).get("overload_manager", {}).get("resource_monitors", [])
    if not any(each.get("name") == CONNECTIONS for each in monitors):
        found.append(f"applications may open any number of connections (no {CONNECTIONS})")
    return verdict(EXPECTED, list(dict.fromkeys(found)), f"{looked_at} routes to providers, and each has an end")


def leads(route: Tree, out: set[str]) -> bool:
    """Whether a route leads to one of these clusters; one that chooses by the request may."""
    if "cluster" in route:
        return route["cluster"] in out
    weighted = route.get("weighted_clusters", {}).get("clusters")
    return weighted is None or any(each["name"] in out for each in weighted)


def _endless(route: Tree) -> Iterator[str]:
    seconds = dump.seconds(route["route"].get("timeout", OWN_TIMEOUT))
    if not seconds:
        yield "waits for ever (`timeout: 0s`)"
    elif seconds > LONGEST:
        yield f"waits for {seconds:g} s"


def _bounded(manager: Tree, routes: list[Tree]) -> bool:
    filters = [each.get("typed_config", {}) for each in manager.get("http_filters", ())]
    return any("max_request_bytes" in each for each in filters) or all(
        "request_body_buffer_limit" in route for route in routes
    )
