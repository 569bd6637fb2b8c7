"""A real Envoy that somebody else configured: what the host hands on of its answers, and what is judged by them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostguard import answer
from hostguard.control import Verdict
from hostguard.controls.gateway import admin, breaker, certificates, limits, program, runtime, sandbox, verification
from hostguard.policy.gateway import Gateway
from tests.lab.process import call
from tests.programs import ENVOY
from tests.unit.a_gateway import GATEWAY, UPSTREAM

pytestmark = [pytest.mark.needs("root", "envoy"), pytest.mark.alone]

TYPE = "type.googleapis.com/envoy."
KEY, SCRIPT = "Bearer sk-live-of-nobody", "-- what only the gateway knows"
READ = ("/ready", "/config_dump", "/clusters", "/certs")


def tls(**context: Any) -> dict[str, Any]:
    kind = TYPE + "extensions.transport_sockets.tls.v3.UpstreamTlsContext"
    return {"name": "envoy.transport_sockets.tls", "typed_config": {"@type": kind, **context}}


def endpoints(name: str, address: str) -> dict[str, Any]:
    place = {"hostname": "api.provider.com", "address": {"socket_address": {"address": address, "port_value": 443}}}
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": place}]}]}


OUTLIER = {"consecutive_5xx": 5, "interval": "10s", "base_ejection_time": "30s", "max_ejection_percent": 100}


def article() -> dict[str, Any]:
    """The article's own cluster, with what Envoy needs to take it at all."""
    return {"name": "article", "type": "STATIC", "connect_timeout": "0.25s", "outlier_detection": OUTLIER,
            "load_assignment": endpoints("article", "192.0.2.7"), "transport_socket": tls()}  # fmt: skip


def good(folder: Path) -> dict[str, Any]:
    sds = {"path_config_source": {"path": str(folder / "trust.json")}, "resource_api_version": "V3"}
    own = {"certificate_chain": {"filename": str(folder / "own.pem")},
           "private_key": {"filename": str(folder / "own.key")}}  # fmt: skip
    common = {"validation_context_sds_secret_config": {"name": "trust", "sds_config": sds}, "tls_certificates": [own]}
    verified = tls(auto_host_sni=True, auto_sni_san_validation=True, common_tls_context=common)
    return {**article(), "name": "good", "load_assignment": endpoints("good", "192.0.2.7"),
            "transport_socket": verified, "circuit_breakers": {"thresholds": [{"max_connections": 10}]},
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}}}  # fmt: skip


def bootstrap(folder: Path, cluster: dict[str, Any], *, timeout: str, paths: tuple[str, ...]) -> dict[str, Any]:
    filters = TYPE + "extensions.filters.http."
    key = {"header": {"key": "authorization", "value": KEY}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": cluster["name"], "timeout": timeout},
             "request_headers_to_add": [key]}  # fmt: skip
    manager = {
        "@type": TYPE + "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "l",
        "route_config": {"virtual_hosts": [{"name": "l", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "limit", "typed_config": {"@type": filters + "body_size_limit.v3.BodySizeLimit",
                                               "max_request_bytes": 1024}},
            {"name": "lua", "typed_config": {"@type": filters + "lua.v3.Lua",
                                             "default_source_code": {"inline_string": SCRIPT}}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": filters + "router.v3.Router"}},
        ],
    }  # fmt: skip
    listener = {"name": "l", "address": {"socket_address": {"address": "127.0.0.84", "port_value": 84}},
                "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}]}  # fmt: skip
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": {
        "@type": TYPE + "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
        "max_active_downstream_connections": 100}}  # fmt: skip
    allowed = {"allow_paths": [{"exact": path} for path in paths]} if paths else {}
    return {
        "node": {"id": "somebody", "cluster": "s"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin" / "admin.sock"), "mode": 0o600}}, **allowed},
        **({"overload_manager": {"resource_monitors": [monitor]}} if timeout != "0s" else {}),
        "static_resources": {"clusters": [cluster], "listeners": [listener]},
    }


RUNS = """
import json, os, subprocess, sys, time
from hostguard.host import envoy_admin, evidence
envoy, config, admin, asked = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
options = ["--disable-hot-restart", "--concurrency", "1", "-l", "warning"]
running = subprocess.Popen([envoy, "-c", config, *options], stdout=subprocess.DEVNULL)
try:
    end = time.monotonic() + 30
    while running.poll() is None and time.monotonic() < end:
        if (envoy_admin.ask(admin, "/ready") if os.path.exists(admin) else "") == "LIVE\\n":
            break
        time.sleep(0.02)
    print(json.dumps(evidence.collect(asked)))
    assert running.poll() is None, "the proxy did not start"
finally:
    running.kill()
"""


def foreign(folder: Path) -> Gateway:
    upstream = replace(UPSTREAM, hosts=("localhost",))
    ca = replace(GATEWAY.tls, ca=str(folder / "own.pem"))
    return replace(GATEWAY, manage=False, admin=str(folder / "admin" / "admin.sock"), program=str(ENVOY), tls=ca,
                   account="root", upstreams=(upstream,))  # fmt: skip


def seen(folder: Path, asks: Mapping[str, Any], cluster: dict[str, Any], timeout: str = "6s",
         paths: tuple[str, ...] = READ) -> dict[str, Any]:  # fmt: skip
    """What the host says, as it comes through the controller's door."""
    (folder / "admin").mkdir(mode=0o700)
    made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "60", "-subj", "/CN=own"]
    call(["openssl", "req", "-x509", *made, "-keyout", str(folder / "own.key"), "-out", str(folder / "own.pem")])
    trusted = {"name": "trust", "validation_context": {"trusted_ca": {"filename": str(folder / "own.pem")}}}
    secret = {"@type": TYPE + "extensions.transport_sockets.tls.v3.Secret", **trusted}
    (folder / "trust.json").write_text(json.dumps({"resources": [secret]}), encoding="utf-8")
    config = folder / "envoy.json"
    config.write_text(json.dumps(bootstrap(folder, cluster, timeout=timeout, paths=paths)), encoding="utf-8")
    fence = ["unshare", "--net", "--mount", "--", sys.executable, "-c", RUNS]
    admin = str(folder / "admin" / "admin.sock")
    done = call([*fence, str(ENVOY), str(config), admin, json.dumps(asks)], check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert KEY not in done.stdout
    assert SCRIPT not in done.stdout
    told = json.loads(done.stdout)
    return {name: answer.evidence(asks[name], told[name], image=False) for name in asks}


def said_of(told: Mapping[str, Any]) -> dict[str, Any]:
    assert all("said" in each for each in told.values()), told
    return {name: each["said"] for name, each in told.items()}


def judged(folder: Path, judging: Any, asks: Mapping[str, Any], cluster: dict[str, Any], **more: Any) -> Verdict:
    found: Verdict = judging(foreign(folder), said_of(seen(folder, asks, cluster, **more)))
    return found


OF_CONFIGURATION = {"verification": verification.judges, "breaker": breaker.judges, "limits": limits.judges}


def of_envoy(folder: Path, *targets: str) -> dict[str, Any]:
    return {"envoy": {"collect": "envoy", "admin": foreign(folder).admin, "targets": list(targets)}}


@pytest.mark.parametrize("name", OF_CONFIGURATION)
def test_what_is_as_it_should_be_passes(tmp_path: Path, name: str) -> None:
    found = judged(tmp_path, OF_CONFIGURATION[name], of_envoy(tmp_path, "config_dump"), good(tmp_path))
    assert found.status == "pass", found


@pytest.mark.parametrize(
    ("name", "words"),
    [("verification", "checks no CA"), ("breaker", "fewer than 50 % are well"), ("limits", "waits for ever")],
)
def test_the_article_s_own_cluster_fails(tmp_path: Path, name: str, words: str) -> None:
    asks = of_envoy(tmp_path, "config_dump")
    found = judged(tmp_path, OF_CONFIGURATION[name], asks, article(), timeout="0s")
    assert (found.status, words in found.actual) == ("fail", True), found


@pytest.mark.parametrize(("paths", "status"), [(READ, "pass"), ((), "fail"), ((*READ, "/quitquitquit"), "fail")])
def test_the_admin(tmp_path: Path, paths: tuple[str, ...], status: str) -> None:
    asks = admin.asks(foreign(tmp_path))
    assert judged(tmp_path, admin.judges, asks, good(tmp_path), paths=paths).status == status


def test_what_runs(tmp_path: Path) -> None:
    """A program of a test's own folder is one that others than root may change; all else is told of it."""
    g = foreign(tmp_path)
    asks = {**certificates.asks(g), **runtime.asks_of_capacity(g), **program.asks(g), **sandbox.asks(g),
            **runtime.asks_of_resolution(g), **of_envoy(tmp_path, "certs", "clusters")}  # fmt: skip
    said = said_of(seen(tmp_path, asks, good(tmp_path)))
    assert certificates.judges(g, said).status == "pass", "its own certificate, and its authority, are good for 60 days"
    assert runtime.judges_capacity(g, said).status == "pass"
    (running,) = said["program"]["running"]
    assert running["same"]
    assert "1.40." in said["program"]["version"] or said["program"]["open_to"]
    (process,) = said["processes"]
    assert (process["uid"], process["filtered"], process["files"] > 5) == (os.geteuid(), False, True)
    assert "may call all of the kernel" in sandbox.judges(replace(g, manage=True), said).actual
    assert said["lookups"]["localhost"]["addresses"]
    assert "the proxy has no address of localhost" in runtime.judges_resolution(g, said).actual


def test_nobody_who_answers_is_unknown_and_no_pass(tmp_path: Path) -> None:
    asks = {"envoy": {"collect": "envoy", "admin": str(tmp_path / "none.sock"), "targets": ["config_dump"]}}
    told = seen(tmp_path, asks, good(tmp_path))
    assert "nobody answers" in told["envoy"]["unreadable"]


def test_an_admin_that_does_not_tell_is_unknown_and_no_pass(tmp_path: Path) -> None:
    told = seen(tmp_path, of_envoy(tmp_path, "config_dump"), good(tmp_path), paths=("/ready",))
    assert "403" in told["envoy"]["unreadable"]
