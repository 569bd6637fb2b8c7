"""The gateway as Envoy is told it: bootstrap, clusters and listeners as plain dicts (pure).

JSON and not YAML: YAML 1.1 reads `n` and `no` as false, and a provider may be called so.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hostguard.controls.gateway import lua, metrics
from hostguard.host.envoy_admin import DUMP
from hostguard.policy.gateway import (
    FOLDER,
    LOG,
    RESOLVER,
    RUN,
    Credential,
    Gateway,
    OAuth,
    Retry,
    Tls,
    Upstream,
)
from hostguard.policy.keys import Place

Tree = dict[str, Any]
TYPE = "type.googleapis.com/envoy."


@dataclass(frozen=True)
class Places:
    """Where things are on a host; a gateway that is only tried has folders and a resolver of its own."""

    folder: str = FOLDER
    run: str = RUN
    log: str = LOG
    resolver: tuple[str, int] = (RESOLVER, 53)

    @property
    def xds(self) -> str:
        return f"{self.folder}/xds"

    @property
    def trust(self) -> str:
        return f"{self.folder}/trust.json"

    def secret(self, name: str) -> str:
        return f"{self.folder}/secret-{name}.json"

    @property
    def admin(self) -> str:
        return f"{self.run}/admin/admin.sock"

    def socket(self, provider: str) -> str:
        """Where applications connect."""
        return f"{self.run}/{provider}/http.sock"

    def bound(self, provider: str) -> str:
        """Where Envoy binds. It takes a path away before it binds it, and listens later: what applications know is a
        second name of the same socket, which host/takeover.py and host/kinds/xds.py put in the place of the old one.
        """
        return f"{self.run}/{provider}/.http.sock"


HOST = Places()
ADMIN = "admin"
"""The cluster of our own admin socket, for the metrics. No provider has this name."""
METRICS = "metrics"
TRUST = "trust"
HIDDEN = "secret:"
"""Before the names of secrets, and of nothing else: by its colon a dump leaves them out."""
NEW, OLD, CERTIFICATE = "new", "old", "certificate"
"""What a secret is called after its own name."""
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
SAMPLED = 1000
"""One of so many requests is logged although it went well: the log alone says when a provider's certificate ends."""
LONGEST_CONNECTION = 3600
"""Seconds; a certificate is looked at when a connection begins."""

READY = "/.hostguard/ready"
"""The path that every provider's listener answers by itself, with 204: for a balancer in front, which is to ask the
very place that it sends requests to. It tells of the proxy and not of the provider: one that fails is down behind all
gateways at once, and a balancer that took them all out would hide why."""

TOKEN_RETRY = 1
"""Seconds until a token is asked for again; the least that Envoy takes. Its first question always fails: it has not
read the secret yet."""
ANSWER = 1
"""Seconds until a question to the host's resolver is in vain; Envoy asks again a second later. A process that starts
opens no listener before it has an answer about each name, or none in time: it may share its ports with one that knows
them all, and would answer 503 in its place. As c-ares has it, 5 s and four tries, a resolver that is silent at a boot
would keep every listener closed for half a minute."""
PING, PING_ANSWER = 30, 5
"""Seconds between two pings of an HTTP/2 connection, and until one without an answer ends the connection."""


def text(tree: Mapping[str, Any]) -> str:
    """The same bytes for the same tree. Only lists have an order."""
    return json.dumps(tree, indent=1, sort_keys=True) + "\n"


def bootstrap(g: Gateway, places: Places = HOST) -> Tree:
    """What needs a new process when it changes."""
    found = {"cds_config": "cds.json", "lds_config": "lds.json"}
    return {
        **_process(g, places),
        "dynamic_resources": {name: _watched(f"{places.xds}/{file}", places.xds) for name, file in found.items()},
    }


def clusters(g: Gateway, places: Places = HOST) -> Tree:
    """The content of cds.json. It goes before the listeners where one is added, and after them where one is removed:
    Envoy refuses a listener that leads to an unknown cluster, and need not look again when the cluster comes."""
    return _discovered("config.cluster.v3.Cluster", _clusters(g, places, _BySds(places)))


def listeners(g: Gateway, places: Places = HOST) -> Tree:
    """The content of lds.json."""
    return _discovered("config.listener.v3.Listener", _listeners(g, places))


def trust(g: Gateway) -> Tree:
    """The content of trust.json: a CA bundle that is named there is read anew when a rename replaces it. One that is
    named in the cluster itself is read once."""
    return _secret({"name": TRUST, "validation_context": _bundle(g.tls)})


def secrets(g: Gateway, places: Places = HOST) -> dict[str, Tree]:
    """Content by path: where each secret lies, and never what it is. Envoy reads the files that are named there anew
    when one is renamed into their folder. A file for each: it refuses one with two."""
    return {places.secret(each["name"].removeprefix(HIDDEN)): _secret(each) for each in _sent(g)}


def _secret(found: Tree) -> Tree:
    return {"resources": [{"@type": TYPE + "extensions.transport_sockets.tls.v3.Secret", **found}]}


def _sent(g: Gateway) -> list[Tree]:
    return [each for at in g.secrets for each in _of_place(at)]


def _of_place(at: Place) -> Iterator[Tree]:
    for which, path in ((NEW, at.new), (OLD, at.old)):
        if path is not None:
            yield {"name": f"{HIDDEN}{at.name}-{which}", "generic_secret": {"secret": {"filename": path}}}
    if at.certificate is not None:
        pair = {"certificate_chain": {"filename": at.certificate}, "private_key": {"filename": at.key}}
        yield {"name": f"{HIDDEN}{at.name}-{CERTIFICATE}", "tls_certificate": pair}


def twin(g: Gateway, places: Places = HOST) -> Tree:
    """All of it for `envoy --mode validate`, which looks at no file that a bootstrap leads to. The CA bundle is named
    in place for the same reason, and secrets are stood for: they may be fetched later. Envoy opens the log even so,
    and its folder may not be there yet."""
    places = replace(places, log="/dev/null")
    static = {
        "clusters": _clusters(g, places, _InPlace(g.tls)),
        "listeners": _listeners(g, places),
        "secrets": [
            {"name": each["name"], "generic_secret": {"secret": {"inline_string": "none"}}}
            for each in _sent(g)
            if "generic_secret" in each
        ],
    }
    return {**_process(g, places), "static_resources": static}


def _discovered(kind: str, resources: Iterable[Tree]) -> Tree:
    """The version is that of the content: the running proxy repeats it."""
    body = [{"@type": TYPE + kind, **each} for each in resources]
    return {"version_info": hashlib.sha256(text({"resources": body}).encode()).hexdigest(), "resources": body}


def _typed(name: str, kind: str, **fields: Any) -> Tree:
    return {"name": name, "typed_config": {"@type": TYPE + kind, **fields}}


def _watched(path: str, folder: str) -> Tree:
    return {"path_config_source": {"path": path, "watched_directory": {"path": folder}}, "resource_api_version": "V3"}


def _tcp(address: str, port: int) -> Tree:
    return {"socket_address": {"address": address, "port_value": port}}


def _seconds(seconds: float) -> str:
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


# The process


def _process(g: Gateway, places: Places) -> Tree:
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
            _typed(heap, monitors + "fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=g.heap_max),
            _typed(
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


# Towards a provider


class _BySds:
    """What clusters name of certificates and keys: resources of files that are read anew."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def trust(self) -> Tree:
        source = _watched(self.places.trust, self.places.folder)
        return {"validation_context_sds_secret_config": {"name": TRUST, "sds_config": source}}

    def key(self, at: Place, which: str) -> Tree:
        name = f"{at.name}-{which}"
        return {"name": HIDDEN + name, "sds_config": _watched(self.places.secret(name), self.places.folder)}

    def certificate(self, at: Place) -> Tree:
        return {"tls_certificate_sds_secret_configs": [self.key(at, CERTIFICATE)]}


class _InPlace:
    """The same of a bootstrap that is only looked at."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls

    def trust(self) -> Tree:
        return {"validation_context": _bundle(self.tls)}

    def key(self, at: Place, which: str) -> Tree:
        return {"name": f"{HIDDEN}{at.name}-{which}"}

    def certificate(self, _at: Place) -> Tree:
        return {}


Found = _BySds | _InPlace


def _clusters(g: Gateway, places: Places, found: Found) -> list[Tree]:
    upstreams = sorted(g.upstreams, key=lambda up: up.name)
    admin = [_admin_cluster(places)] if g.metrics_listen else []
    return [*(each for up in upstreams for each in _of_upstream(g, up, places, found)), *admin]


def _of_upstream(g: Gateway, up: Upstream, places: Places, found: Found) -> Iterator[Tree]:
    credential = up.credential
    if credential is None:
        yield _cluster(g, up, up.name, places, found, [])
        return
    if credential.oauth is not None:
        yield _cluster(g, up, up.name, places, found, [_token(up, credential, credential.oauth, found)])
        yield _token_server(g, up, credential.oauth, places, found)
        return
    for name, which in zip(up.clusters, (NEW, OLD), strict=False):
        yield _cluster(g, up, name, places, found, [_key(credential, found.key(credential.place, which))])


def _cluster(g: Gateway, up: Upstream, name: str, places: Places, found: Found, filters: list[Tree]) -> Tree:
    return {
        "name": name,
        "connect_timeout": _seconds(up.connect),
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
        "typed_extension_protocol_options": _protocol("auto", up.idle, [_discreet(), _lua(lua.tokens())]),
    }


def _names(places: Places) -> Tree:
    resolver = _typed(
        "envoy.network.dns_resolver.cares",
        "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        resolvers=[_tcp(*places.resolver)],
        dns_resolver_options={"no_default_search_domain": True},
        query_timeout_seconds=ANSWER,
        query_tries=1,
    )
    strict = _typed(
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
        {"priority": at, "lb_endpoints": [{"endpoint": {"hostname": host, "address": _tcp(host, port)}, **_place(at)}]}
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
    return _typed(
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


def _bundle(tls: Tls) -> Tree:
    return {"trusted_ca": {"filename": tls.ca}}


def _protocol(protocol: str, idle: float, filters: list[Tree]) -> Tree:
    """`filters` are behind the router, for each try."""
    http1: Tree = {"http_protocol_options": {}}
    # A connection that died silently takes all requests with it, until TCP gives up after a quarter of an hour.
    ping = {"interval": _seconds(PING), "timeout": _seconds(PING_ANSWER)}
    http2: Tree = {"http2_protocol_options": {"connection_keepalive": ping}}
    spoken: dict[str, Tree] = {
        "http1": {"explicit_http_config": http1},
        "http2": {"explicit_http_config": http2},
        "auto": {"auto_config": http1 | http2},
    }
    kind = "extensions.upstreams.http.v3.HttpProtocolOptions"
    common = {"idle_timeout": _seconds(idle), "max_connection_duration": _seconds(LONGEST_CONNECTION)}
    return {
        f"envoy.{kind}": {
            "@type": TYPE + kind,
            "common_http_protocol_options": common,
            "http_filters": [*filters, _typed(CODEC, "extensions.filters.http.upstream_codec.v3.UpstreamCodec")],
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
        "interval": _seconds(up.interval),
        "base_ejection_time": _seconds(up.ejection),
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
    return [_typed("envoy.filters.http.header_mutation", kind, mutations=noted)]


# Its credential


def _discreet() -> Tree:
    """Else a token server is told this host's own address, and Envoy's time-out."""
    told = ("x-forwarded-for", "x-envoy-internal", "x-envoy-expected-rq-timeout-ms")
    kind = "extensions.filters.http.header_mutation.v3.HeaderMutation"
    mutations = {"request_mutations": [{"remove": name} for name in told]}
    return _typed("envoy.filters.http.header_mutation", kind, mutations=mutations)


def _injected(credential: Tree) -> Tree:
    """Whatever an application sent in this header is overwritten; where there is no key, nothing is sent."""
    kind = "extensions.filters.http.credential_injector.v3.CredentialInjector"
    return _typed("envoy.filters.http.credential_injector", kind, overwrite=True, credential=credential)


def _key(credential: Credential, secret: Tree) -> Tree:
    generic = _typed(
        "envoy.http.injected_credentials.generic",
        "extensions.http.injected_credentials.generic.v3.Generic",
        credential=secret,
        header=credential.header,
        header_value_prefix=credential.prefix,
    )
    return _injected(generic)


def _token(up: Upstream, credential: Credential, oauth: OAuth, found: Found) -> Tree:
    secret = found.key(credential.place, NEW)
    oauth2 = _typed(
        "envoy.http.injected_credentials.oauth2",
        "extensions.http.injected_credentials.oauth2.v3.OAuth2",
        token_endpoint={"uri": oauth.url, "cluster": up.token_cluster, "timeout": _seconds(up.per_try)},
        scopes=list(oauth.scopes),
        client_credentials={"client_id": oauth.client_id, "client_secret": secret, "auth_type": "URL_ENCODED_BODY"},
        token_fetch_retry_interval=_seconds(TOKEN_RETRY),
    )
    return _injected(oauth2)


def _admin_cluster(places: Places) -> Tree:
    endpoint = {"endpoint": {"address": {"pipe": {"path": places.admin}}}}
    assignment = {"cluster_name": ADMIN, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": ADMIN, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment}


# Towards the applications


def _listeners(g: Gateway, places: Places) -> list[Tree]:
    found = []
    for up in sorted(g.upstreams, key=lambda up: up.name):
        filters = [_manager(g, up, places)]
        if up.listen is not None:
            found.append(_listener(g, f"{up.name}-port", _tcp(g.address, up.listen), filters))
        if up.group is not None:  # who may come in is the folder's business; a living listener keeps its mode
            pipe = {"pipe": {"path": places.bound(up.name), "mode": 0o660}}
            found.append(_listener(g, f"{up.name}-socket", pipe, filters))
    if g.metrics_listen is not None:
        scraped = _listener(g, METRICS, _tcp(g.address, g.metrics_listen), [_metrics()])
        # Who refuses requests for want of memory still says so.
        found.append({**scraped, "ignore_global_conn_limit": True, "bypass_overload_manager": True})
    return found


def _listener(g: Gateway, name: str, address: Tree, filters: list[Tree]) -> Tree:
    chain = {"filters": filters}
    return {"name": name, "address": address, "per_connection_buffer_limit_bytes": g.buffer, "filter_chains": [chain]}


def _http(name: str, routes: list[Tree], filters: list[Tree], virtual_host: Tree, **fields: Any) -> Tree:
    host = {"name": name, "domains": ["*"], "routes": routes, **virtual_host}
    router = _typed(
        "envoy.filters.http.router", "extensions.filters.http.router.v3.Router", suppress_envoy_headers=True
    )
    return _typed(
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
    checked = [] if up.payload.stream else [_lua(lua.source(up.payload))]
    limit = _typed(
        "envoy.filters.http.body_size_limit",
        "extensions.filters.http.body_size_limit.v3.BodySizeLimit",
        max_request_bytes=up.payload.request_max,
    )
    unasked = ["x-forwarded-proto", *(["accept-encoding"] if up.payload.schema is not None else [])]
    return _http(
        up.name,
        _routes(up),
        [_ready(), limit, *checked],
        {"request_headers_to_remove": unasked, "response_headers_to_remove": [WAIT]},
        access_log=[*_log(g, up, places), _counted(up)],
        local_reply_config=_own_answers(),
        # An application says http; HTTP/2 repeats the scheme, to a provider that is asked by https.
        scheme_header_transformation={"match_upstream": True},
    )


def _ready() -> Tree:
    """It marks a balancer's questions as such: in counts and logs they would dilute what alerts are measured by."""
    asked = [{"name": ":path", "string_match": {"exact": READY}}]
    kind = "extensions.filters.http.health_check.v3.HealthCheck"
    return _typed("envoy.filters.http.health_check", kind, pass_through_mode=True, headers=asked)


def _own_answers() -> Tree:
    """An answer that is the gateway's own says so, and why. Its own 401 is that of a key which is not there: the
    application can't do anything about it, and must not take it for the provider's."""
    reason = {"header": {"key": "x-hostguard-reason", "value": "%RESPONSE_CODE_DETAILS%"}}
    told = {"headers_to_add": [reason]}
    return {
        "mappers": [{"filter": _status("EQ", 401), "status_code": 503, **told}, {"filter": _status("GE", 400), **told}]
    }


def _lua(program: str) -> Tree:
    source = {"inline_string": program}
    return _typed("envoy.filters.http.lua", "extensions.filters.http.lua.v3.Lua", default_source_code=source)


def _routes(up: Upstream) -> list[Tree]:
    """First what is answered here; then what may reach a provider once only: no safe method, and no key by which the
    provider knows it again."""
    once = [_header(":method", "|".join(up.retry.safe))] if up.retry.safe else []
    if up.retry.idempotency_header is not None:
        once.append(_header(up.retry.idempotency_header, ".+"))
    # 204 is the one good answer that needs no body, and so fits every schema.
    ready = {"match": {"path": READY}, "direct_response": {"status": 204}}
    return [ready, _route(up, once, safe=False), _route(up, [], safe=True)]


def _header(name: str, regex: str) -> Tree:
    """A header that does not match this. One that is missing is an empty one: else it would match nothing, inverted or
    not."""
    match = {"string_match": {"safe_regex": {"regex": regex}}, "invert_match": True}
    return {"name": name, "treat_missing_header_as_empty": True, **match}


def _route(up: Upstream, headers: list[Tree], *, safe: bool) -> Tree:
    action: Tree = {**_leads(up), "timeout": _seconds(up.total), "auto_host_rewrite": True}
    if up.retry.tries > 1:
        action["retry_policy"] = _retries(up, safe=safe)
    route: Tree = {"match": {"prefix": "/", "headers": headers}, "route": action}
    if not up.payload.stream:  # of requests that may be sent again, and of answers that are waited for
        route["request_body_buffer_limit"] = max(up.payload.request_max, up.payload.response_max)
    return route


def _leads(up: Upstream) -> Tree:
    """To its cluster; where there are two, by the number of the try: new, old, new, old."""
    if len(up.clusters) == 1:
        return {"cluster": up.name}
    tries = [up.clusters[at % 2] for at in range(up.retry.tries)]
    groups = [
        {"name": f"{at}-{name}", "clusters": [{"cluster_name": name, "weight": 1}]} for at, name in enumerate(tries)
    ]
    kind = "extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
    chosen = _typed("envoy.router.cluster_specifier_plugin.priority_group", kind, priority_groups=groups)
    return {"inline_cluster_specifier_plugin": {"extension": chosen}}


def _retries(up: Upstream, *, safe: bool) -> Tree:
    # `reset` stands for a provider's reset and for the time of a try that is over: there is no switch for each.
    again = ["connect-failure", "refused-stream", "reset-before-request"]
    again += ["reset"] if safe and up.retry.timeouts else []
    policy: Tree = {
        "num_retries": up.retry.tries - 1,
        "per_try_timeout": _seconds(up.per_try),
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
    if worth := _worth(up, safe=safe):
        again.append("retriable-headers")
        policy["retriable_headers"] = [{"name": WAIT, "string_match": {"safe_regex": {"regex": worth}}}]
    if seconds(up.retry):
        after = {"name": "Retry-After", "format": "SECONDS"}
        longest = _seconds(up.retry.wait_max)
        policy["rate_limited_retry_back_off"] = {"reset_headers": [after], "max_interval": longest}
    if len(up.hosts) > 1:
        policy["retry_priority"] = _typed(
            "envoy.retry_priorities.previous_priorities",
            "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
            update_frequency=len(up.clusters),  # each region is asked with both keys
        )
    if len(up.clusters) > 1:
        policy["refresh_cluster_on_retry"] = True
    return {"retry_on": ",".join(again), **policy}


def _worth(up: Upstream, *, safe: bool) -> str:
    """Status and Retry-After of an answer after which it is tried again; "" for none. A 202 may have a Retry-After too.
    What was answered 401 was not done, whatever its method; so is the old key's, since the try before it may have
    failed for another reason.

    Envoy takes no notice of a Retry-After that is longer than the longest it waits, and would try again at once. So
    such an answer is handed on, but for one that another region may do better.
    """
    wait = seconds(up.retry)
    limited = [f"429;({wait})"] if wait else []
    broken = ["50[234];" + (".*" if len(up.hosts) > 1 else f"({wait})?")] if safe else []
    refused = ["401;.*"] if len(up.clusters) > 1 else []
    return "|".join([*limited, *broken, *refused])


def seconds(retry: Retry) -> str:
    """A regular expression for the whole numbers from 1 to the longest wait, which is below 60; "" for none."""
    tens, units = divmod(math.floor(retry.wait_max), 10)
    if not tens:
        return f"[1-{units}]" if units else ""
    below = "[1-9]" if tens == 1 else f"[1-9]|[1-{tens - 1}][0-9]"
    return f"{below}|{tens}[0-{units}]"


# What is told of a request

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


def _log(g: Gateway, up: Upstream, places: Places) -> list[Tree]:
    if g.log == "off":
        return []
    logger = _typed(
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
        _status("LE", 199),  # 0 where nobody was left to answer
        _status("GE", 300),
        {"response_flag_filter": {}},
        {"duration_filter": _compare("GE", math.ceil(up.p99 * 1000))},
        {"runtime_filter": {"runtime_key": "hostguard.log", **sampled}},
    ]
    return {"or_filter": {"filters": any_of}}


def _status(op: str, code: int) -> Tree:
    return {"status_code_filter": _compare(op, code)}


def _compare(op: str, value: int) -> Tree:
    """Envoy wants a key by which its runtime could change the number; nothing here sets one."""
    return {"comparison": {"op": op, "value": {"default_value": value, "runtime_key": "hostguard.log"}}}


def _counted(up: Upstream) -> Tree:
    kind = "extensions.access_loggers.stats.v3.Config"
    return {**_typed("envoy.access_loggers.stats", kind, **metrics.of_requests(up)), "filter": ASKED}


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
