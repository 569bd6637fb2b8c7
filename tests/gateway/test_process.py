"""The process itself: what it takes and refuses, its reload, its admin and metrics, and what it tells of requests."""

from __future__ import annotations

import http.client
import json
import stat
import subprocess
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from ssl import cert_time_to_seconds
from typing import Any

import pytest

from hostguard.controls.gateway import envoy, metrics
from hostguard.controls.gateway.envoy import access_log
from hostguard.controls.gateway.envoy.route import READY
from hostguard.controls.gateway.envoy.tree import as_json
from hostguard.host.envoy_admin import DUMP
from hostguard.policy.gateway import Credential, OAuth
from hostguard.policy.keys import Place
from tests.gateway.provider import Provider, answers, in_turn
from tests.gateway.proxy import (
    ADDRESS,
    API,
    EU,
    METRICS,
    MIB,
    PORT,
    REGIONS,
    Proxy,
    ask,
    gateway,
    places,
    put,
    running,
    upstream,
    validated,
    write,
)
from tests.patience import until

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]
BESIDE = {"name": "beside", "hosts": (EU,), "listen": PORT + 1}
KEYS = Place("keys", new="/nowhere/new", old="/nowhere/old")
CARD = Place("card", certificate="/nowhere/pem", key="/nowhere/pem")
TOKENS = OAuth(API, 443, f"https://{API}/token", "shop", ("pay",))
SCHEMA = {"type": "object", "required": ["id"]}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "no"},
        {"name": "n", "group": "shop"},
        {"listen": None, "group": "shop"},
        {"hosts": REGIONS},
        {"protocol": "http1"},
        {"protocol": "http2"},
        {"retry": {"tries": 1}},
        {"retry": {"safe": ()}},
        {"retry": {"wait_max": 0}},
        {"retry": {"wait_max": 59, "timeouts": False, "idempotency_header": None}},
        {"payload": {"stream": True}, "retry": {"tries": 1}},
        {"payload": {"schema": SCHEMA}},
        {"credential": Credential(KEYS, "X-Api-Key", "", None)},
        {"credential": Credential(KEYS, "Authorization", "Bearer ", None), "hosts": REGIONS},
        {"credential": Credential(replace(KEYS, old=None), "Authorization", "Bearer ", None), "retry": {"tries": 1}},
        {"credential": Credential(KEYS, "Authorization", "", TOKENS), "client_certificate": CARD},
    ],
    ids=str,
)
def test_envoy_takes_what_is_compiled(pki: Path, changes: dict[str, Any]) -> None:
    for log in ("failures", "all", "off"):
        g = gateway(upstream(**changes), ca=pki / "ca.pem", log=log, metrics_listen=METRICS)
        with places(g) as (folder, at):
            put(folder / "twin.json", as_json(envoy.twin(g, at)))
            done = validated(folder / "twin.json")
        told = [line for line in done.stderr.splitlines() if "work-in-progress" not in line]
        assert (done.returncode, told) == (0, [])


@pytest.mark.usefixtures("first", "second")
def test_envoy_calls_nothing_of_it_deprecated(pki: Path) -> None:
    up = upstream(hosts=REGIONS, group="shop", payload={"schema": SCHEMA})
    with running(gateway(up, ca=pki / "ca.pem", metrics_listen=METRICS, log="failures")) as proxy:
        assert ask().status == 200
        assert proxy.said() == ""


def test_validation_looks_at_the_twin_and_not_at_files_that_a_bootstrap_leads_to(pki: Path) -> None:
    """This is why there is a twin."""
    g = gateway(ca=pki / "ca.pem")
    with places(g) as (_, at):
        write(g, at)
        put(Path(at.xds, "cds.json"), '{"resources": [{"@type": "nonsense"')
        assert validated(Path(at.folder, "bootstrap.json")).returncode == 0
        tree = envoy.twin(g, at)
        tree["static_resources"]["clusters"][0]["name"] = "another"
        put(Path(at.folder, "twin.json"), as_json(tree))
        refused = validated(Path(at.folder, "twin.json"))
    assert refused.returncode == 1
    assert "unknown cluster 'payments'" in refused.stderr


# Its reload


def version(proxy: Proxy, kind: str) -> str:
    dumps = json.loads(proxy.admin(DUMP).body)["configs"]
    return next(str(each.get("version_info", "")) for each in dumps if each["@type"].endswith(f"{kind}ConfigDump"))


@pytest.mark.usefixtures("first", "second")
def test_a_provider_that_is_added_is_there_by_a_rename(pki: Path) -> None:
    one, two = gateway(ca=pki / "ca.pem"), gateway(upstream(), upstream(**BESIDE), ca=pki / "ca.pem")
    with running(one) as proxy:
        proxy.change(two)
        assert version(proxy, "Clusters") == envoy.clusters(two, proxy.places)["version_info"]
        until(lambda: ask(PORT + 1).status == 200, "an answer of the new provider")
        assert ask().status == 200


@pytest.mark.usefixtures("first", "second")
def test_listeners_that_come_before_their_cluster_are_refused(pki: Path) -> None:
    """This is why clusters are written first. Whether they are looked at again depends on what else is renamed."""
    one, two = gateway(ca=pki / "ca.pem"), gateway(upstream(), upstream(**BESIDE), ca=pki / "ca.pem")
    with running(one) as proxy:
        before = envoy.listeners(one, proxy.places)["version_info"]
        proxy.put("lds.json", as_json(envoy.listeners(two, proxy.places)))
        until(lambda: "unknown cluster 'beside'" in proxy.said(), "the refusal")
        assert version(proxy, "Listeners") == before
        assert (ask().status, ask(PORT + 1).status) == (200, 0)
        proxy.change(two)
        until(lambda: ask(PORT + 1).status == 200, "an answer of the new provider")


@pytest.mark.usefixtures("first", "second")
def test_a_cluster_that_goes_before_its_listener_takes_the_answers_along(pki: Path) -> None:
    """This is why listeners are written first where a provider is taken out."""
    one, two = gateway(ca=pki / "ca.pem"), gateway(upstream(), upstream(**BESIDE), ca=pki / "ca.pem")
    with running(two) as proxy:
        proxy.put("cds.json", as_json(envoy.clusters(one, proxy.places)))
        until(lambda: ask(PORT + 1).status == 503, "an answer of nobody")
        assert ask().status == 200


# Its sockets


@pytest.mark.usefixtures("first")
def test_an_application_may_come_by_a_socket(pki: Path) -> None:
    with running(gateway(upstream(listen=None, group="shop"), ca=pki / "ca.pem")) as proxy:
        path = Path(proxy.places.bound("payments"))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert ask(str(path)).status == 200
        assert ask().status == 0


def test_the_admin_is_a_socket_of_its_own_account_and_ends_nothing(pki: Path) -> None:
    with running(gateway(ca=pki / "ca.pem"), wait=False) as proxy:
        assert stat.S_IMODE(Path(proxy.places.admin).stat().st_mode) == 0o600
        refused = ["/quitquitquit", "/runtime_modify?a=b", "/healthcheck/fail", "/logging?level=off", "/reset_counters"]
        assert {path: proxy.admin(path, "POST").status for path in refused} == dict.fromkeys(refused, 403)
        whole = ["/config_dump", "/config_dump?include_eds", f"{DUMP}|.*"]
        assert {path: proxy.admin(path).status for path in whole} == dict.fromkeys(whole, 403), "secrets are in it"
        taken = ["/ready", "/stats?filter=x", DUMP, "/clusters", "/certs", "/listeners", "/server_info"]
        assert {path: proxy.admin(path).status for path in taken} == dict.fromkeys(taken, 200)
        assert proxy.admin("/reopen_logs", "POST").status == 200
        assert proxy.admin("/drain_listeners?graceful", "POST").status == 200
        assert proxy.process.poll() is None


@pytest.mark.parametrize("where", ["port", "socket"])
def test_a_balancer_asks_where_it_sends_to_whether_the_proxy_is_there(pki: Path, first: Provider, where: str) -> None:
    first.behave = answers(503)
    once = upstream(group="shop", retry={"tries": 1}, payload={"schema": SCHEMA})
    with running(gateway(once, ca=pki / "ca.pem", log="all")) as proxy:
        at = PORT if where == "port" else proxy.places.bound("payments")
        assert ask(at, READY).status == 204
        assert [ask(at).status for _ in range(8)] == [503] * 8
        until(lambda: proxy.ejections() == 1, "the provider is cut off")
        assert ask(at, READY).status == 204
        assert proxy.admin("/drain_listeners?graceful", "POST").status == 200
        assert ask(at, READY).status == 204
        until(lambda: len(proxy.logged()) >= 8, "the log")
        assert [line["status"] for line in proxy.logged()] == [503] * 8
    assert {request.path for request in first.seen} == {"/v1/pay"}


# Its limits


def test_connections_beyond_the_limit_are_closed_and_metrics_are_served(pki: Path, first: Provider) -> None:
    g = gateway(ca=pki / "ca.pem", connections_max=3, metrics_listen=METRICS)
    with running(g) as proxy, ExitStack() as held:
        for _ in range(3):
            wire = held.enter_context(closing(http.client.HTTPConnection(ADDRESS, PORT)))
            wire.request("GET", "/")
            assert wire.getresponse().read() == b'{"id": 1}'
        assert ask().status == 0
        assert ask(METRICS, "/metrics").status == 200
        assert proxy.admin("/ready").status == 200
    assert len(first.seen) == 3


def test_requests_beyond_the_heap_are_refused_and_metrics_are_served(pki: Path, first: Provider) -> None:
    with running(gateway(ca=pki / "ca.pem", heap_max=MIB, metrics_listen=METRICS)):
        until(lambda: ask().status == 503, "a refusal")
        first.seen.clear()
        assert ask().status == 503
        assert "envoy_overload_envoy_overload_actions_stop_accepting_requests_active{} 1" in scraped()
    assert first.seen == []


# Its metrics


def test_the_listener_for_metrics_serves_them_and_nothing_else(pki: Path) -> None:
    with running(gateway(ca=pki / "ca.pem", metrics_listen=METRICS), wait=False) as proxy:
        got = ask(METRICS, "/metrics")
        assert got.status == 200
        assert b"envoy_server_live" in got.body
        others = ("/", "/config_dump", "/metrics/", "/metrics/../config_dump", "/metrics/%2e%2e/config_dump",
                  "/stats/prometheus", "/quitquitquit", "/metricsx", "//metrics", "/metrics?filter=.*",
                  "/metrics?&format=json", "/metrics?usedonly")  # fmt: skip
        assert {path: ask(METRICS, path).status for path in others} == dict.fromkeys(others, 404)
        assert ask(METRICS, "/metrics", method="POST").status == 404
        assert ask(METRICS, "/quitquitquit", method="POST").status == 404
        assert proxy.process.poll() is None


def scraped() -> set[str]:
    return set(ask(METRICS, "/metrics").body.decode().splitlines())


@pytest.mark.usefixtures("first")
def test_a_provider_is_one_label_of_all_that_is_counted_of_it(pki: Path) -> None:
    up = upstream(name="card-payments", credential=Credential(KEYS, "X-Api-Key", "", None))
    with running(gateway(up, ca=pki / "ca.pem", metrics_listen=METRICS)):
        assert ask().status == 503, "its key is nowhere"
        until(lambda: any("envoy_hostguard_requests{" in line for line in scraped()), "the count of a request")
        labels = [line for line in scraped() if line.startswith(("envoy_cluster_up", "envoy_http", "envoy_hostguard"))]
        assert labels
        assert [line for line in labels if 'provider="card-payments"' not in line] == []
        old = 'envoy_cluster_upstream_rq_total{provider="card-payments",envoy_cluster_name="card-payments-old"}'
        assert any(line.startswith(old) for line in labels)


@pytest.mark.usefixtures("second")
def test_a_request_is_counted_with_its_region_its_time_and_the_end_of_the_certificate(
    pki: Path, first: Provider
) -> None:
    first.behave = answers(503)
    with running(gateway(upstream(hosts=REGIONS), ca=pki / "ca.pem", metrics_listen=METRICS)):
        assert ask().status == 200
        until(lambda: 'envoy_hostguard_ttfb_count{provider="payments"} 1' in scraped(), "the first byte's time")
        found = scraped()
    assert f'envoy_hostguard_requests{{provider="payments",flags="-",region="{EU}",order="2"}} 1' in found
    (ends,) = [line for line in found if line.startswith("envoy_hostguard_certificate_ends{")]
    shown = subprocess.run(["openssl", "x509", "-enddate", "-noout", "-in", pki / "good.pem"], text=True, check=True,
                           capture_output=True).stdout.strip().removeprefix("notAfter=")  # fmt: skip
    assert (
        ends == f'envoy_hostguard_certificate_ends{{provider="payments",region="{EU}"}} {cert_time_to_seconds(shown)}'
    )


def test_the_objective_of_the_policy_is_told_beside_what_is_measured(pki: Path) -> None:
    with running(gateway(upstream(p99=0.75, errors=0.005), ca=pki / "ca.pem", metrics_listen=METRICS)):
        assert ask().status == 503, "no provider is there"
        wanted = {
            'envoy_hostguard_objective_p99_ms{provider="payments"} 750',
            'envoy_hostguard_objective_errors_ppm{provider="payments"} 5000',
        }
        until(lambda: wanted <= scraped(), "the objective")


@pytest.mark.usefixtures("first")
def test_a_balancer_s_questions_are_not_counted(pki: Path) -> None:
    with running(gateway(ca=pki / "ca.pem", metrics_listen=METRICS)) as proxy:
        assert [ask(path=READY).status for _ in range(3)] == [204] * 3
        assert ask().status == 200
        until(lambda: any(line.startswith("envoy_hostguard_requests{") for line in scraped()), "the count of a request")
        assert [line for line in scraped() if line.startswith("envoy_hostguard_requests{")] == [
            f'envoy_hostguard_requests{{provider="payments",flags="-",region="{API}",order="1"}} 1'
        ]
        assert proxy.said() == ""


@pytest.mark.usefixtures("first")
@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("envoy_hostguard_ttfb", 'provider="payments"'),
        ("envoy_cluster_upstream_rq_time", 'provider="payments",envoy_cluster_name="payments"'),
        ("envoy_http_downstream_rq_time", 'provider="payments",envoy_http_conn_manager_prefix="payments"'),
    ],
)
def test_the_times_of_a_provider_and_of_the_whole_are_in_the_same_buckets(pki: Path, name: str, of: str) -> None:
    with running(gateway(ca=pki / "ca.pem", metrics_listen=METRICS)):
        assert ask().status == 200
        until(lambda: f"{name}_count{{{of}}} 1" in scraped(), "the time of a request")
        ends = [line.split('le="')[1].split('"')[0] for line in scraped() if line.startswith(f"{name}_bucket{{")]
    assert sorted(ends, key=float) == [*map(str, metrics.BUCKETS), "+Inf"]


@pytest.mark.usefixtures("first")
def test_what_has_not_happened_yet_is_told_as_none_and_the_way_of_the_metrics_is_not_told(pki: Path) -> None:
    """A counter that first appears at 1 has not risen, for Prometheus."""
    with running(gateway(ca=pki / "ca.pem", metrics_listen=METRICS)):
        assert ask().status == 200
        found = scraped()
    assert 'envoy_cluster_ssl_fail_verify_error{provider="payments",envoy_cluster_name="payments"} 0' in found
    assert [line for line in found if '="admin"' in line or '="metrics"' in line] == []


def test_whatever_a_provider_answers_its_metrics_stay_small(pki: Path, first: Provider) -> None:
    ups = [upstream(), *(upstream(name=f"p{n}", listen=PORT + n) for n in range(1, 6))]
    with running(gateway(*ups, ca=pki / "ca.pem", metrics_listen=METRICS)) as proxy:
        for status in range(200, 500, 5):
            first.behave = answers(status)
            assert ask(method="POST").status == status
        told = len(ask(METRICS, "/metrics").body)
        assert told < 16 * 1024 * len(ups)
        assert told < len(proxy.admin("/stats/prometheus").body) / 3


# What it tells of a request


def test_a_request_is_logged_with_what_explains_it(pki: Path, first: Provider) -> None:
    first.behave = answers(429, b"{}", retry_after=30)
    with running(gateway(ca=pki / "ca.pem", log="failures")) as proxy:
        assert ask(path="/v1/4111?key=secret").status == 429
        until(lambda: bool(proxy.logged()), "a line of the log")
        (line,) = proxy.logged()
        assert "4111" not in Path(proxy.places.log).read_text()
    assert set(line) == {"provider", "users", *access_log.LOGGED}
    assert line["users"] == ["shop"]
    told = {name: line[name] for name in ("method", "status", "flags", "retry_after", "tries", "host", "tls")}
    assert told == {"method": "GET", "status": 429, "flags": "-", "retry_after": "30", "tries": 1, "host": API,
                    "tls": "TLSv1.3"}  # fmt: skip
    assert line["cert_ends"].endswith("Z")
    assert all(isinstance(line[each], int) for each in ("connect", "handshake", "ttfb", "ms"))


def test_a_connection_that_fails_is_logged_with_its_reason(pki: Path) -> None:
    with running(gateway(ca=pki / "ca.pem", log="failures")) as proxy:
        assert ask().status == 503
        until(lambda: bool(proxy.logged()), "a line of the log")
        (line,) = proxy.logged()
    assert set(line["flags"].split(",")) == {"UF", "URX"}
    assert "refused" in line["failure"]


@pytest.mark.parametrize(("log", "lines"), [("all", [200, 404, 200]), ("failures", [404]), ("off", [])])
def test_what_is_logged_is_what_the_policy_says(
    pki: Path, first: Provider, monkeypatch: pytest.MonkeyPatch, log: str, lines: list[int]
) -> None:
    monkeypatch.setattr(access_log, "SAMPLED", 10**7)
    first.behave = in_turn([answers(), answers(404)], answers())
    with running(gateway(upstream(p99=30), ca=pki / "ca.pem", log=log, metrics_listen=METRICS)) as proxy:
        for _ in range(3):
            ask()
        proxy.stop()  # all that is to be logged is logged then
        assert [each["status"] for each in proxy.logged()] == lines


@pytest.mark.usefixtures("first")
def test_a_few_of_the_good_ones_are_logged_too_for_the_certificate(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "SAMPLED", 1)
    with running(gateway(upstream(p99=30), ca=pki / "ca.pem", log="failures")) as proxy:
        assert ask().status == 200
        until(lambda: bool(proxy.logged()), "a line of the log")
        assert proxy.logged()[0]["cert_ends"]
