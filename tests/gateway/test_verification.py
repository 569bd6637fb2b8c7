"""Nothing is sent to a provider that can't show by its certificate that it is the one of the policy."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest

from hostguard.controls.gateway import envoy
from hostguard.controls.gateway.envoy.tree import as_json
from tests.gateway import certificates
from tests.gateway.names import Names
from tests.gateway.provider import Provider, answers
from tests.gateway.proxy import (
    API,
    EU,
    FIRST,
    PROVIDERS_PORT,
    REGIONS,
    SECOND,
    ask,
    gateway,
    places,
    put,
    running,
    upstream,
    validated,
)
from tests.patience import until

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]
TLS = ssl.TLSVersion


def test_a_provider_with_a_good_certificate_is_asked_by_its_name(pki: Path, first: Provider) -> None:
    with running(gateway(ca=pki / "ca.pem")):
        got = ask(method="POST", body=b"pay", headers={"X-Own": "1"})
    assert (got.status, got.body) == (200, b'{"id": 1}')
    (seen,) = first.seen
    assert (seen.method, seen.path, seen.body) == ("POST", "/v1/pay", b"pay")
    assert seen.headers == {"host": API, "x-own": "1", "accept-encoding": "identity", "content-length": "3"}


@pytest.mark.parametrize("certificate", [certificates.EXPIRED, certificates.WRONG_NAME, certificates.WRONG_CA])
def test_nothing_is_sent_to_a_provider_with_a_bad_certificate(pki: Path, certificate: str) -> None:
    with Provider(FIRST, PROVIDERS_PORT, pki, certificate) as bad, running(gateway(ca=pki / "ca.pem")):
        got = ask(method="POST", body=b"pay")
        assert got.status == 503
        assert bad.connections > 0
        assert bad.seen == []


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_nothing_is_sent_by_an_old_tls(pki: Path) -> None:
    with (
        Provider(FIRST, PROVIDERS_PORT, pki, tls=(TLS.TLSv1_1, TLS.TLSv1_1)) as old,
        running(gateway(ca=pki / "ca.pem")),
    ):
        assert ask().status == 503
        assert old.connections > 0
        assert old.seen == []


def test_a_further_region_is_asked_and_verified_by_its_own_name(pki: Path, second: Provider) -> None:
    up = upstream(hosts=REGIONS)
    with running(gateway(up, ca=pki / "ca.pem")):
        assert ask().status == 200
    assert [each.headers["host"] for each in second.seen] == [EU]


def test_a_further_region_that_shows_another_name_gets_nothing(pki: Path, names: Names) -> None:
    names.of[EU] = ([SECOND], 60)
    up = upstream(hosts=REGIONS)
    with Provider(SECOND, PROVIDERS_PORT, pki, certificates.WRONG_NAME) as bad, running(gateway(up, ca=pki / "ca.pem")):
        assert ask().status == 503
        assert bad.connections > 0
        assert bad.seen == []


def test_tls_1_3_is_spoken_where_the_provider_can(pki: Path) -> None:
    with Provider(FIRST, PROVIDERS_PORT, pki, tls=(TLS.TLSv1_3, TLS.TLSv1_3)), running(gateway(ca=pki / "ca.pem")):
        assert ask().status == 200


def test_a_ca_bundle_that_is_replaced_holds_for_the_next_connection(pki: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    shutil.copy(pki / "ca.pem", bundle)
    once = answers(connection="close")
    with Provider(FIRST, PROVIDERS_PORT, pki, certificates.WRONG_CA, once) as other, running(gateway(ca=bundle)):
        assert ask().status == 503
        assert other.seen == []
        put(bundle, (pki / "other-ca.pem").read_text())
        until(lambda: ask().status == 200, "an answer of the provider whose CA is trusted now")


def test_validation_refuses_a_name_check_without_a_ca(pki: Path) -> None:
    g = gateway(ca=pki / "ca.pem")
    with places(g) as (folder, at):
        tree = envoy.twin(g, at)
        put(folder / "twin.json", as_json(tree))
        assert validated(folder / "twin.json").returncode == 0
        (cluster,) = tree["static_resources"]["clusters"]
        del cluster["transport_socket"]["typed_config"]["common_tls_context"]["validation_context"]
        put(folder / "twin.json", as_json(tree))
        refused = validated(folder / "twin.json")
    assert refused.returncode == 1
    assert "auto_sni_san_validation" in refused.stderr


def test_validation_refuses_a_ca_bundle_that_is_not_there(pki: Path) -> None:
    g = gateway(ca=pki / "absent.pem")
    with places(g) as (folder, at):
        put(folder / "twin.json", as_json(envoy.twin(g, at)))
        refused = validated(folder / "twin.json")
    assert refused.returncode == 1
    assert "absent.pem" in refused.stderr
