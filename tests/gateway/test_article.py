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
from hostguard.controls.gateway.envoy.tree import as_json
from hostguard.rehearse.faults import article
from tests.gateway import certificates
from tests.gateway.provider import BROKEN, Provider
from tests.gateway.proxy import (
    API,
    FIRST,
    PROVIDERS_PORT,
    ask,
    assert_cut,
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

NAME = "third_party_api"


def found_here(ours: dict[str, Any]) -> dict[str, Any]:
    """With our provider's address and our resolver."""
    resolver = ours["cluster_type"]["typed_config"]["typed_dns_resolver_config"]
    return {**article.cluster(NAME, API, PROVIDERS_PORT), "typed_dns_resolver_config": resolver}


@contextmanager
def the_article_s(pki: Path) -> Iterator[None]:
    """Our listener without retries, in front of the article's cluster."""
    g = gateway(upstream(name=NAME, retry={"tries": 1}), ca=pki / "ca.pem")
    with places(g) as (folder, at):
        write(g, at)
        tree = envoy.twin(g, at)
        (ours,) = tree["static_resources"]["clusters"]
        tree["static_resources"]["clusters"] = [found_here(ours)]
        put(Path(at.folder, "twin.json"), as_json(tree))
        with launched(folder, at, f"{at.folder}/twin.json") as proxy:
            until(lambda: bool(proxy.addresses(NAME)), "its address")
            yield


def test_it_is_refused_as_it_is_printed(tmp_path: Path) -> None:
    for cluster, code in ((article.AS_PRINTED, 1), (article.cluster(NAME, "api.provider.com", 443), 0)):
        put(tmp_path / "bootstrap.json", as_json({"static_resources": {"clusters": [cluster]}}))
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
    first.behave = BROKEN
    with the_article_s(pki):
        assert [ask().status for _ in range(30)] == [503] * 30
    assert len(first.seen) == 30
    first.seen.clear()
    up = upstream(retry={"tries": 1})
    with running(gateway(up, ca=pki / "ca.pem")) as proxy:
        assert [ask().status for _ in range(up.consecutive_5xx)] == [503] * up.consecutive_5xx
        assert_cut(proxy, first.seen)
