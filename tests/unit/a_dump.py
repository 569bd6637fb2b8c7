"""What an Envoy says of itself at its admin, by hand: one provider that is as it should be, to be changed by tests."""

from __future__ import annotations

import copy
from typing import Any

TYPE = "type.googleapis.com/envoy."
TLS = TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
MANAGER = TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
LIMIT = TYPE + "extensions.filters.http.body_size_limit.v3.BodySizeLimit"


def endpoint(address: str) -> dict[str, Any]:
    place = {"pipe": {"path": address}} if address[0] == "/" else {"socket_address": {"address": address,
                                                                                       "port_value": 443}}  # fmt: skip
    return {"endpoint": {"address": place}}


def cluster() -> dict[str, Any]:
    context = {
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "validation_context_sds_secret_config": {"name": "trust"},
    }
    return {
        "name": "payments",
        "load_assignment": {"endpoints": [{"lb_endpoints": [endpoint("api.provider.com")]}]},
        "transport_socket": {
            "typed_config": {"@type": TLS, "auto_sni_san_validation": True, "common_tls_context": context}
        },
        "outlier_detection": {"max_ejection_percent": 100},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [{}]},
    }


LOCAL = {"name": "admin", "load_assignment": {"endpoints": [{"lb_endpoints": [endpoint("/run/admin.sock")]}]}}


def manager() -> dict[str, Any]:
    route = {"route": {"cluster": "payments", "timeout": "6s"}}
    return {
        "@type": MANAGER,
        "route_config": {"virtual_hosts": [{"routes": [route]}]},
        "http_filters": [{"name": "limit", "typed_config": {"@type": LIMIT, "max_request_bytes": 10485760}}],
    }


def admin() -> dict[str, Any]:
    return {"address": {"pipe": {"path": "/run/admin.sock"}}, "allow_paths": [{"exact": "/config_dump"}]}


def dump(
    *clusters: dict[str, Any],
    managers: list[dict[str, Any]] | None = None,
    admin: dict[str, Any] | None = None,
    monitors: tuple[str, ...] = ("envoy.resource_monitors.global_downstream_max_connections",),
    secret: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """As it is in force: what is not said is as it should be."""
    listeners = [
        {"name": f"l{at}", "active_state": {"listener": {"name": f"l{at}", "filter_chains": [
            {"filters": [{"typed_config": each}]}]}}}
        for at, each in enumerate([manager()] if managers is None else managers)
    ]  # fmt: skip
    trusted = {"validation_context": {"trusted_ca": {"filename": ""}}} if secret is None else secret
    configs = {
        "BootstrapConfigDump": {"bootstrap": {
            "admin": _ADMIN if admin is None else admin,
            "overload_manager": {"resource_monitors": [{"name": name} for name in monitors]},
        }},
        "ClustersConfigDump": {
            "static_clusters": [{"cluster": LOCAL}],
            "dynamic_active_clusters": [{"cluster": each} for each in clusters or (cluster(),)],
        },
        "ListenersConfigDump": {"dynamic_listeners": listeners},
        "SecretsConfigDump": {"dynamic_active_secrets": [{"name": "trust", "secret": trusted}]},
    }  # fmt: skip
    return {"configs": [{"@type": f"{TYPE}admin.v3.{kind}", **part} for kind, part in configs.items()]}


_ADMIN = admin()


def changed(tree: dict[str, Any], path: str, value: Any = None) -> dict[str, Any]:
    """A copy with another value at a path of keys, with dots; without one the key is gone."""
    found = copy.deepcopy(tree)
    *way, last = path.split(".")
    node: Any = found
    for key in way:
        node = node[int(key)] if isinstance(node, list) else node[key]
    at: Any = int(last) if isinstance(node, list) else last
    if value is None:
        del node[at]
    else:
        node[at] = value
    return found
