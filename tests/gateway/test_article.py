"""The cluster of the article that hostguard began with, beside ours: why it is not enough.

It is as printed there, but for the one line without which Envoy refuses it, and where its provider is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from hostguard.controls.gateway import envoy
from tests.gateway import certificates
from tests.gateway.provider import Provider, answers
from tests.gateway.proxy import (
    API,
    FIRST,
    PROVIDERS_PORT,
    ask,
    gateway,
    launched,
    places,
    put,
    running,
    upstream,
    validated,
    write,
)
from tests.patience import until

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]

AS_PRINTED: dict[str, Any] = {
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
TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"


def with_its_type() -> dict[str, Any]:
    socket = {**AS_PRINTED["transport_socket"], "typed_config": {"@type": TYPE}}
    return {**AS_PRINTED, "transport_socket": socket}


def found_here(cluster: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """With our provider's address and our resolver."""
    where = {"address": {"socket_address": {"address": API, "port_value": PROVIDERS_PORT}}}
    assignment = {"cluster_name": cluster["name"], "endpoints": [{"lb_endpoints": [{"endpoint": where}]}]}
    resolver = ours["cluster_type"]["typed_config"]["typed_dns_resolver_config"]
    return {**cluster, "load_assignment": assignment, "typed_dns_resolver_config": resolver}


@contextmanager
def the_article_s(pki: Path) -> Iterator[None]:
    """Our listener without retries, in front of the article's cluster."""
    g = gateway(upstream(name="third_party_api", retry={"tries": 1}), ca=pki / "ca.pem")
    with places(g) as (folder, at):
        write(g, at)
        tree = envoy.twin(g, at)
        (ours,) = tree["static_resources"]["clusters"]
        tree["static_resources"]["clusters"] = [found_here(with_its_type(), ours)]
        put(Path(at.folder, "twin.json"), envoy.text(tree))
        with launched(folder, at, f"{at.folder}/twin.json") as proxy:
            until(lambda: bool(proxy.addresses("third_party_api")), "its address")
            yield


def test_it_is_refused_as_it_is_printed(tmp_path: Path) -> None:
    for cluster, code in ((AS_PRINTED, 1), (with_its_type(), 0)):
        put(tmp_path / "bootstrap.json", envoy.text({"static_resources": {"clusters": [cluster]}}))
        assert validated(tmp_path / "bootstrap.json").returncode == code


@pytest.mark.parametrize("certificate", [certificates.EXPIRED, certificates.WRONG_NAME, certificates.WRONG_CA])
def test_it_sends_to_a_provider_with_a_bad_certificate_and_ours_does_not(pki: Path, certificate: str) -> None:
    with Provider(FIRST, PROVIDERS_PORT, pki, certificate) as bad:
        with the_article_s(pki):
            assert ask(method="POST", body=b"pay").status == 200
        assert [each.body for each in bad.seen] == [b"pay"]
        bad.seen.clear()
        with running(gateway(ca=pki / "ca.pem")):
            assert ask(method="POST", body=b"pay").status == 503
        assert bad.seen == []


def test_it_never_cuts_a_provider_that_fails_and_ours_does(pki: Path, first: Provider) -> None:
    first.behave = answers(503, b"{}")
    with the_article_s(pki):
        assert [ask().status for _ in range(30)] == [503] * 30
    assert len(first.seen) == 30
    first.seen.clear()
    with running(gateway(upstream(retry={"tries": 1}), ca=pki / "ca.pem")):
        assert [ask().status for _ in range(30)] == [503] * 30
    assert len(first.seen) <= 6
