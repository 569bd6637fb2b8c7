"""A gateway on a whole host, ours and somebody else's, broken one way at a time: exactly the control that the break is
about must fail."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.breaks import Break, gateway, score
from tests.lab import Host, Lab
from tests.lab.network import RESOLVER
from tests.lab.process import call
from tests.programs import ENVOY
from tests.witness.name_server import NameServer
from tests.witness.policy import PLACE
from tests.witness.test_breaks import failing, in_turn

pytestmark = pytest.mark.needs("lab", "envoy")

POLICIES = Path(gateway.__file__).parent
NAMES = {"api.provider.com": ["9.9.9.1"], "api.letters.example": ["9.9.9.2"]}
TYPES = "type.googleapis.com/envoy."
HTTP = TYPES + "extensions.filters.http."
SERVICE = f"""[Unit]
StartLimitIntervalSec=0
[Service]
User=envoy
RuntimeDirectory=foreign
RuntimeDirectoryMode=0700
AmbientCapabilities=CAP_NET_BIND_SERVICE
ExecStart={gateway.PROGRAM} -c {gateway.FOREIGN} --disable-hot-restart --concurrency 1 -l warning
"""


def foreign() -> dict[str, Any]:
    """An Envoy that somebody configured as it should be."""
    own = {"certificate_chain": {"filename": "/etc/foreign/own.pem"},
           "private_key": {"filename": "/etc/foreign/own.key"}}  # fmt: skip
    context = {
        "@type": TYPES + "extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "auto_host_sni": True,
        "auto_sni_san_validation": True,
        "common_tls_context": {"validation_context": {"trusted_ca": {"filename": "/etc/foreign/ca.pem"}},
                               "tls_certificates": [own]},
    }  # fmt: skip
    place = {"hostname": "api.provider.com",
             "address": {"socket_address": {"address": "api.provider.com", "port_value": 443}}}  # fmt: skip
    cluster = {
        "name": "payments",
        "type": "STRICT_DNS",
        "respect_dns_ttl": True,
        "dns_lookup_family": "V4_ONLY",
        "load_assignment": {"cluster_name": "payments", "endpoints": [{"lb_endpoints": [{"endpoint": place}]}]},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        "circuit_breakers": {"thresholds": [{"max_connections": 10}]},
        "outlier_detection": {"max_ejection_percent": 100},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
    }
    limit = {"@type": HTTP + "body_size_limit.v3.BodySizeLimit", "max_request_bytes": 1024}
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "payments", "timeout": "6s"}}]
    manager = {
        "@type": TYPES + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "l",
        "route_config": {"virtual_hosts": [{"name": "l", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "limit", "typed_config": limit},
                         {"name": "router", "typed_config": {"@type": HTTP + "router.v3.Router"}}],
    }  # fmt: skip
    monitor = TYPES + "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    connections = {"@type": monitor, "max_active_downstream_connections": 100}
    paths = [{"exact": f"/{path}"} for path in ("config_dump", "clusters", "certs", "ready")]
    return {
        "node": {"id": "f", "cluster": "f"},
        "admin": {"address": {"pipe": {"path": "/run/foreign/admin.sock", "mode": 0o600}}, "allow_paths": paths},
        "overload_manager": {"resource_monitors": [
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections}]},
        "static_resources": {"clusters": [cluster], "listeners": [
            {"name": "l", "address": {"socket_address": {"address": "127.0.0.84", "port_value": 84}},
             "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}]}]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def names(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    server = NameServer(lab, RESOLVER, tmp_path_factory.mktemp("names"))
    server.answer(NAMES, ttl=60)
    yield server
    server.stop()


def made(lab: Lab, name: str, policy: str) -> Host:
    host = lab.host(name)
    call(["podman", "cp", str(ENVOY), f"{host.container}:{gateway.PROGRAM}"])
    host.run(f"chown root:root {gateway.PROGRAM} && chmod 755 {gateway.PROGRAM}")
    host.run("for each in shop mail prometheus; do getent passwd $each || useradd --system --user-group $each; done")
    host.run("groupadd -f mail; mkdir -p /etc/hostguard")
    host.write(PLACE, (POLICIES / policy).read_text(encoding="utf-8"))
    return host


@pytest.fixture(scope="module")
def ours(lab: Lab, names: NameServer) -> Host:
    assert names.zone.exists()
    host = made(lab, "ours", "gateway.yml")
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    host.run(f"{gateway.PLANT}; {gateway.RESTART}; {gateway.UP}")
    return host


@pytest.fixture(scope="module")
def theirs(lab: Lab, names: NameServer) -> Host:
    assert names.zone.exists()
    host = made(lab, "theirs", "foreign.yml")
    host.run("mkdir -p /etc/foreign")
    host.run(f"{gateway.certificate(900, 'ca')}; {gateway.certificate(900, 'own')}; chown envoy /etc/foreign/own.key")
    host.write(gateway.FOREIGN, json.dumps(foreign()))
    host.write("/etc/systemd/system/foreign.service", SERVICE)
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr + done.stdout
    host.run(f"systemctl daemon-reload; {gateway.AGAIN}")
    return host


def noticed(host: Host, done: Break) -> None:
    host.run(done.broken)
    try:
        score.count(done.name, set(failing(host)), {done.control})
    finally:
        host.run(done.mended)


def test_our_gateway_is_clean(ours: Host) -> None:
    assert failing(ours) == {}


@pytest.mark.parametrize("done", [pytest.param(b, id=f"{b.control}, {b.name}") for b in in_turn(gateway.BEHIND)])
def test_the_audit_notices(ours: Host, done: Break) -> None:
    noticed(ours, done)


def test_what_was_mended_is_seen_to_be(ours: Host) -> None:
    assert failing(ours) == {}


def test_somebody_else_s_gateway_is_clean(theirs: Host) -> None:
    assert failing(theirs) == {}


@pytest.mark.parametrize("done", [pytest.param(b, id=f"{b.control}, {b.name}") for b in in_turn(gateway.OF_FOREIGN)])
def test_the_audit_notices_what_somebody_else_configured(theirs: Host, done: Break) -> None:
    noticed(theirs, done)
