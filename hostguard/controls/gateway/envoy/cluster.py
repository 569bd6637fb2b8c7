"""Clusters: the way to a provider."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hostguard.controls.gateway import lua, metrics
from hostguard.controls.gateway.envoy.credential import discreet, key, token
from hostguard.controls.gateway.envoy.places import Places
from hostguard.controls.gateway.envoy.secret import NEW, OLD, Found
from hostguard.controls.gateway.envoy.tree import TYPE, Tree, duration, lua_filter, tcp, typed
from hostguard.policy.gateway import Gateway, OAuth, Tls, Upstream
from hostguard.policy.keys import Place

ADMIN = "admin"
"""The cluster of our own admin socket, for the metrics. No provider has this name."""
LONGEST_CONNECTION = 3600
"""Seconds; a certificate is looked at when a connection begins."""
ANSWER = 1
"""Seconds until a question to the host's resolver is in vain; Envoy asks again a second later. A process that starts
opens no listener before it has an answer about each name, or none in time: it may share its ports with one that knows
them all, and would answer 503 in its place. As c-ares has it, 5 s and four tries, a resolver that is silent at a boot
would keep every listener closed for half a minute."""
PING, PING_ANSWER = 30, 5
"""Seconds between two pings of an HTTP/2 connection, and until one without an answer ends the connection."""


def clusters(g: Gateway, places: Places, found: Found) -> list[Tree]:
    upstreams = sorted(g.upstreams, key=lambda up: up.name)
    admin = [_admin_cluster(places)] if g.metrics_listen else []
    return [*(each for up in upstreams for each in _of_upstream(g, up, places, found)), *admin]


def _of_upstream(g: Gateway, up: Upstream, places: Places, found: Found) -> Iterator[Tree]:
    credential = up.credential
    if credential is None:
        yield _cluster(g, up, up.name, places, found, [])
        return
    if credential.oauth is not None:
        yield _cluster(g, up, up.name, places, found, [token(up, credential, credential.oauth, found)])
        yield _token_server(g, up, credential.oauth, places, found)
        return
    for name, which in zip(up.clusters, (NEW, OLD), strict=False):
        yield _cluster(g, up, name, places, found, [key(credential, found.key(credential.place, which))])


def _cluster(g: Gateway, up: Upstream, name: str, places: Places, found: Found, filters: list[Tree]) -> Tree:
    return {
        "name": name,
        "connect_timeout": duration(up.connect),
        "per_connection_buffer_limit_bytes": g.buffer,
        **_names(places),
        "load_assignment": {"cluster_name": name, "endpoints": _regions(up.hosts, up.port)},
        "transport_socket": _verified(g.tls, found, up.client_certificate),
        "typed_extension_protocol_options": _protocol(up.protocol, up.idle, [*_noted(), *filters]),
        "circuit_breakers": {"thresholds": [_breaker(up)]},
        "outlier_detection": _outlier(up),
        # Else the last half of the addresses is never cut, and one address is always asked; and else what is cut goes
        # on for a second.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
    }


def _token_server(g: Gateway, up: Upstream, oauth: OAuth, places: Places, found: Found) -> Tree:
    """Verified, bounded and cut like its provider."""
    name = up.token_cluster
    return {
        **_cluster(g, up, name, places, found, []),
        "load_assignment": {"cluster_name": name, "endpoints": _regions((oauth.host,), oauth.port)},
        "typed_extension_protocol_options": _protocol("auto", up.idle, [discreet(), lua_filter(lua.tokens())]),
    }


def _names(places: Places) -> Tree:
    resolver = typed(
        "envoy.network.dns_resolver.cares",
        "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        resolvers=[tcp(*places.resolver)],
        dns_resolver_options={"no_default_search_domain": True},
        query_timeout_seconds=ANSWER,
        query_tries=1,
    )
    strict = typed(
        "envoy.clusters.dns",
        "extensions.clusters.dns.v3.DnsCluster",
        respect_dns_ttl=True,
        dns_failure_refresh_rate={"base_interval": "1s", "max_interval": "5s"},
        dns_lookup_family="V4_PREFERRED",  # Envoy's own asks for IPv6 first, routed or not
        typed_dns_resolver_config=resolver,
    )
    return {"cluster_type": strict}


def _regions(hosts: Iterable[str], port: int) -> list[Tree]:
    return [
        {"priority": at, "lb_endpoints": [{"endpoint": {"hostname": host, "address": tcp(host, port)}, **_place(at)}]}
        for at, host in enumerate(hosts)
    ]


def _place(at: int) -> Tree:
    return {"metadata": {"filter_metadata": {metrics.SCOPE: {metrics.ORDER: str(at + 1)}}}}


def _verified(tls: Tls, found: Found, certificate: Place | None) -> Tree:
    """SNI and the name in the certificate are those of the region that is asked."""
    versions = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}
    parameters = {
        "tls_minimum_protocol_version": versions[tls.min],
        "tls_maximum_protocol_version": versions[tls.max],  # Envoy's own is 1.2
        "cipher_suites": list(tls.ciphers),
    }
    return typed(
        "envoy.transport_sockets.tls",
        "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        auto_host_sni=True,
        auto_sni_san_validation=True,
        common_tls_context={
            "tls_params": parameters,
            **found.trust(),
            **(found.certificate(certificate) if certificate else {}),
        },
    )


def _protocol(protocol: str, idle: float, filters: list[Tree]) -> Tree:
    """`filters` are behind the router, for each try."""
    http1: Tree = {"http_protocol_options": {}}
    # A connection that died silently takes all requests with it, until TCP gives up after a quarter of an hour.
    ping = {"interval": duration(PING), "timeout": duration(PING_ANSWER)}
    http2: Tree = {"http2_protocol_options": {"connection_keepalive": ping}}
    spoken: dict[str, Tree] = {
        "http1": {"explicit_http_config": http1},
        "http2": {"explicit_http_config": http2},
        "auto": {"auto_config": http1 | http2},
    }
    kind = "extensions.upstreams.http.v3.HttpProtocolOptions"
    common = {"idle_timeout": duration(idle), "max_connection_duration": duration(LONGEST_CONNECTION)}
    return {
        f"envoy.{kind}": {
            "@type": TYPE + kind,
            "common_http_protocol_options": common,
            "http_filters": [*filters, typed(CODEC, "extensions.filters.http.upstream_codec.v3.UpstreamCodec")],
            **spoken[protocol],
        }
    }


def _breaker(up: Upstream) -> Tree:
    return {
        "max_connections": up.connections,
        "max_pending_requests": up.pending,
        "max_requests": up.requests,
        "max_retries": up.retries,
        "track_remaining": True,
    }


def _outlier(up: Upstream) -> Tree:
    return {
        "consecutive_5xx": up.consecutive_5xx,
        "interval": duration(up.interval),
        "base_ejection_time": duration(up.ejection),
        "max_ejection_percent": up.percent,
        "enforcing_success_rate": 0,  # cuts those below the average: no number of the policy
    }


CODEC = "envoy.filters.http.upstream_codec"
WAIT = "x-hostguard-wait"
"""Status and Retry-After of a provider's answer in one header, for the routes: Envoy can't ask for two at once."""


def _noted() -> list[Tree]:
    value = {"key": WAIT, "value": "%RESP(:STATUS)%;%RESP(RETRY-AFTER)%"}
    noted = {"response_mutations": [{"append": {"header": value, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]}
    kind = "extensions.filters.http.header_mutation.v3.HeaderMutation"
    return [typed("envoy.filters.http.header_mutation", kind, mutations=noted)]


def _admin_cluster(places: Places) -> Tree:
    endpoint = {"endpoint": {"address": {"pipe": {"path": places.admin}}}}
    assignment = {"cluster_name": ADMIN, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": ADMIN, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}
