"""The article's Envoy: its cluster as it is printed, for each provider, and no more than it lacks to start (pure).

It lacks the type of its TLS context, without which Envoy refuses it, and a listener with a route, of which the article
says nothing. Where the provider's name is looked up is the rehearsal's.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]
TYPE = "type.googleapis.com/envoy."
AS_PRINTED: Tree = {
    "name": "third_party_api",
    "connect_timeout": "0.25s",
    "type": "STRICT_DNS",
    "lb_policy": "ROUND_ROBIN",
    "load_assignment": {
        "cluster_name": "third_party_api",
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "api.provider.com", "port_value": 443}}}}
                ]
            }
        ],
    },
    "transport_socket": {"name": "envoy.transport_sockets.tls"},
    "outlier_detection": {
        "consecutive_5xx": 5,
        "interval": "10s",
        "base_ejection_time": "30s",
        "max_ejection_percent": 100,
    },
}


@dataclass(frozen=True)
class Door:
    """A provider, and the port at which the article's Envoy is asked for it."""

    host: str
    port: int
    listen: int


def cluster(name: str, host: str, port: int) -> Tree:
    """As printed, for another provider, with the type that it lacks."""
    found = deepcopy(AS_PRINTED)
    found["name"] = found["load_assignment"]["cluster_name"] = name
    (endpoint,) = found["load_assignment"]["endpoints"][0]["lb_endpoints"]
    endpoint["endpoint"]["address"]["socket_address"] = {"address": host, "port_value": port}
    context = {"@type": TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"}
    found["transport_socket"]["typed_config"] = context
    return found


def bootstrap(doors: Iterable[Door], address: str, resolver: tuple[str, int], fast: bool) -> Tree:
    """`fast`: its ejection and interval are a tenth too."""
    clusters, listeners = [], []
    for door in doors:
        found = {**cluster(door.host, door.host, door.port), "typed_dns_resolver_config": _resolver(*resolver)}
        if fast:
            found["outlier_detection"] |= {"interval": "1s", "base_ejection_time": "3s"}
        clusters.append(found)
        listeners.append(_listener(door, address))
    return {"static_resources": {"clusters": clusters, "listeners": listeners}}


def _resolver(address: str, port: int) -> Tree:
    kind = "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    where = {"socket_address": {"address": address, "port_value": port}}
    config = {"@type": TYPE + kind, "resolvers": [where], "dns_resolver_options": {"no_default_search_domain": True}}
    return {"name": "envoy.network.dns_resolver.cares", "typed_config": config}


def _listener(door: Door, address: str) -> Tree:
    route = {"match": {"prefix": "/"}, "route": {"cluster": door.host}}
    router = {"@type": TYPE + "extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": door.host,
        "route_config": {"virtual_hosts": [{"name": door.host, "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    at = {"socket_address": {"address": address, "port_value": door.listen}}
    return {"name": door.host, "address": at, "filter_chains": [chain]}
