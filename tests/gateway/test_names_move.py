"""A provider's name that moves, and a resolver that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostguard.controls.gateway.envoy import cluster
from tests.gateway.names import Names
from tests.gateway.provider import Provider
from tests.gateway.proxy import API, EU, FIRST, MOVED, PORT, PROVIDERS_PORT, ask, gateway, running, upstream
from tests.patience import until

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]


def test_a_name_that_moves_is_followed_when_its_time_is_over(pki: Path, names: Names) -> None:
    names.of[API] = ([FIRST], 1)
    with Provider(MOVED, PROVIDERS_PORT, pki) as moved, running(gateway(ca=pki / "ca.pem")):
        with Provider(FIRST, PROVIDERS_PORT, pki):
            assert ask().status == 200
        names.of[API] = ([MOVED], 1)
        until(lambda: ask().status == 200, "an answer from the new address", seconds=10)
        assert moved.seen


@pytest.mark.usefixtures("first")
def test_a_name_is_not_asked_again_before_its_time_is_over(
    pki: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "ANSWER", 30)  # an answer that is late is asked for again
    names.of[API], names.of[EU] = ([FIRST], 600), ([FIRST], 1)
    asked = upstream()
    beside = upstream(name="beside", hosts=(EU,), listen=PORT + 1)
    with running(gateway(asked, beside, ca=pki / "ca.pem")):
        until(lambda: names.questions.count(EU) >= 3, "questions for the name beside", seconds=20)
        assert names.questions.count(API) == 1


@pytest.mark.parametrize("trouble", [{"code": "SERVFAIL"}, {"silent": True}], ids=["fails", "silent"])
@pytest.mark.usefixtures("first")
def test_a_resolver_in_trouble_leaves_the_addresses_that_are_known(
    pki: Path, names: Names, trouble: dict[str, object]
) -> None:
    names.of[API] = ([FIRST], 1)
    with running(gateway(ca=pki / "ca.pem")):
        for name, value in trouble.items():
            setattr(names, name, value)
        before = len(names.questions)
        until(lambda: len(names.questions) >= before + 2, "two questions in vain", seconds=40)
        assert ask().status == 200


@pytest.mark.parametrize("code", ["NXDOMAIN", "NOERROR"])
@pytest.mark.usefixtures("first")
def test_a_name_that_is_gone_takes_its_addresses_along(pki: Path, names: Names, code: str) -> None:
    names.of[API] = ([FIRST], 1)
    with running(gateway(ca=pki / "ca.pem")):
        assert ask().status == 200
        names.of[API], names.code = ([], 1), code
        until(lambda: ask().status == 503, "no address left", seconds=20)


@pytest.mark.usefixtures("first")
def test_a_process_that_starts_takes_no_request_before_it_knows_where_to(
    pki: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that knows may have the port too: this one would fail what that one would not."""
    monkeypatch.setattr(cluster, "ANSWER", 30)
    names.of[API], names.late = ([FIRST], 60), 0.5
    with running(gateway(ca=pki / "ca.pem"), wait=False):
        assert ask().status == 200


def test_a_resolver_that_is_silent_at_the_start_closes_no_listener(pki: Path, names: Names) -> None:
    names.silent = True
    with running(gateway(ca=pki / "ca.pem"), wait=False):
        until(lambda: ask().status == 503, "an answer of the gateway", seconds=10)
        assert names.questions
        with Provider(FIRST, PROVIDERS_PORT, pki):
            names.silent = False
            until(lambda: ask().status == 200, "an answer of the provider", seconds=30)
