"""Secrets that come by themselves, and what the gateway adds of them: what a policy may say, what is refused and where,
and what follows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.policy import keys
from hostguard.policy.gateway import Upstream, derive
from hostguard.policy.load import LoadedPolicy
from hostguard.policy.sizing import size
from tests.unit.a_policy import GONE, Change, Refused, changing, put, refusing
from tests.unit.test_gateway_policy import AT, SMALL

LOGIN = {
    "method": "approle",
    "role_id": "/etc/hostguard/secrets/role-id",
    "secret_id": "/var/lib/hostguard-secrets/secret-id",
}
POLICY = put(
    SMALL,
    {
        "egress/services": {
            "vault": {"hosts": ["vault.internal.example"], "ports": [8200], "users": ["vault-agent"]},
        },
        "egress.resolver_users": ["envoy", "vault-agent"],
        f"{AT}.credential": {"secret": "payments", "header": "X-Api-Key"},
        f"{AT}.client_certificate": "card",
        "secrets": {
            "owner": "vault-agent",
            "group": "envoy",
            "agent": {
                "server": "https://vault.internal.example:8200",
                "ca": "/etc/ssl/vault.pem",
                "auth": LOGIN,
                "secrets": {
                    "payments": {"path": "secret/data/payments"},
                    "card": {"path": "secret/data/card", "certificate": "cert", "key": "key"},
                },
            },
            "files": {
                "legacy": {"new": "/run/secrets/legacy/new"},
                "paper": {"certificate": "/run/secrets/paper/cert", "key": "/run/secrets/paper/key"},
            },
        },
    },
)
AGENT, CREDENTIAL = "secrets.agent", f"{AT}.credential"
NO_CARD = {f"{AT}.client_certificate": GONE, f"{AGENT}.secrets.card": GONE}
SECOND = {"hosts": ["api.provider.com", "eu.provider.com"]}


@pytest.fixture
def changed(tmp_path: Path) -> Change:
    return changing(POLICY, tmp_path)


@pytest.fixture
def refused(changed: Change) -> Refused:
    return refusing(changed)


def upstream(loaded: LoadedPolicy) -> Upstream:
    found = derive(loaded.policy)
    assert found is not None
    return found.upstreams[0]


def oauth(url: str = "https://api.provider.com/token", **more: str) -> Mapping[str, Any]:
    return {CREDENTIAL: {"secret": "payments", "oauth2": {"url": url, "client_id": "shop"}, **more}}


def auth(agent: str = "bao", **keys: str) -> Mapping[str, Any]:
    return {f"{AGENT}.auth": keys, f"{AGENT}.program": f"/usr/bin/{agent}"}


ROWS: dict[str, tuple[Mapping[str, Any], str, str]] = {
    # Who writes them
    "a name twice": (
        {"secrets.files.payments": {"new": "/run/secrets/p/new"}}, "secrets.files.payments", "a name of its own"),
    "a file on a disk": (
        {"secrets.files.legacy.new": "/etc/legacy/key"}, "secrets.files.legacy.new", "a file below /run/secrets"),
    "a file beside the tmpfs": (
        {"secrets.files.legacy.new": "/run/secrets-of-others/key"}, "secrets.files.legacy.new", "below /run/secrets"),
    "an old key on a disk": (
        {"secrets.files.legacy.old": "/etc/legacy/old"}, "secrets.files.legacy.old", "below /run/secrets"),
    "nothing to send": ({"secrets.files.legacy": {}}, "secrets.files.legacy", "new, or certificate and key"),
    "an old key alone": (
        {"secrets.files.legacy": {"old": "/run/secrets/legacy/old"}}, "secrets.files.legacy", "new, or certificate"),
    "a certificate without its key": (
        {"secrets.files.paper.key": GONE}, "secrets.files.paper.key", "that of the certificate"),
    "a key without its certificate": (
        {"secrets.files.paper.certificate": GONE}, "secrets.files.paper.certificate", "that of the key"),
    "a key and a certificate": (
        {"secrets.files.paper.new": "/run/secrets/paper/new"}, "secrets.files.paper", "one of the two"),
    "a stored certificate without its key": (
        {f"{AGENT}.secrets.card.key": GONE}, f"{AGENT}.secrets.card.key", "that of the certificate"),
    "a stored key and a certificate": (
        {f"{AGENT}.secrets.card.new": "key"}, f"{AGENT}.secrets.card", "one of the two"),
    # The agent
    "an agent that is root": (
        {"secrets.owner": "root", "egress.services.vault.users": GONE, "egress.resolver_users": GONE}, "secrets.owner",
        "is not root"),
    "an agent with nothing to do": (
        {f"{AGENT}.secrets": {}, f"{AT}.credential": GONE, f"{AT}.client_certificate": GONE}, f"{AGENT}.secrets",
        "at least one secret"),
    "asking without a pause": ({f"{AGENT}.poll": "500ms"}, f"{AGENT}.poll", "1s to 10m"),
    "asking too seldom": ({f"{AGENT}.poll": "11m"}, f"{AGENT}.poll", "1s to 10m"),
    "an overlap that is too short": (
        {f"{AGENT}.poll": "60s", f"{AGENT}.overlap": "30s"}, f"{AGENT}.overlap", "at least `poll`"),
    "a folder that its reader can't pass": (
        {**NO_CARD, "secrets.group": "shop"}, "secrets.group", "envoy, or a mode such as 0711"),
    "a socket for root": ({f"{AGENT}.socket": {"group": "root"}}, f"{AGENT}.socket.group", "the group of the appl"),
    "approle without its secret": (auth(method="approle", role_id="/etc/r"), f"{AGENT}.auth.secret_id", "approle"),
    "cert without its key": (auth(method="cert", certificate="/etc/c.pem"), f"{AGENT}.auth.key", "cert needs"),
    "aws without its role": (auth("vault", method="aws"), f"{AGENT}.auth.role", "aws needs"),
    "jwt without its token": (auth(method="jwt", role="shop"), f"{AGENT}.auth.token", "jwt needs"),
    "another method's key": (
        auth("vault", method="aws", role="shop", role_id="/etc/r"), f"{AGENT}.auth.role_id", "not the method aws's"),
    "plain HTTP through the network": (
        {f"{AGENT}.server": "http://vault.internal.example:8200"}, f"{AGENT}.server", "https"),
    "a server that nobody verifies": ({f"{AGENT}.ca": GONE}, f"{AGENT}.ca", "by which the server is verified"),
    "a server here that nobody verifies": (
        {f"{AGENT}.server": "https://127.0.0.1:8200", f"{AGENT}.ca": GONE}, f"{AGENT}.ca", "by which the server"),
    "a server that nothing leads to": (
        {"egress.services": {}}, f"{AGENT}.server", "egress.services with it and port 8200, for vault-agent"),
    "a server at another port": ({"egress.services.vault.ports": [443]}, f"{AGENT}.server", "port 8200"),
    "a server for others": (
        {"egress.services.vault.users": ["shop"], "egress.resolver_users": ["envoy", "vault-agent", "shop"]},
        f"{AGENT}.server", "for vault-agent"),
    "a server by UDP": ({"egress.services.vault.protocol": "udp"}, f"{AGENT}.server", "egress.services"),
    "a server elsewhere": (
        {"egress.services.vault": {"cidrs": ["10.0.0.0/24"], "ports": [8200]}, f"{AGENT}.server": "https://10.0.1.5:8200"},
        f"{AGENT}.server", "egress.services"),
    # Who sends them
    "a key that nobody has": ({f"{CREDENTIAL}.secret": "other"}, f"{CREDENTIAL}.secret", "a name of secrets.agent"),
    "a certificate for a key": ({f"{CREDENTIAL}.secret": "card"}, f"{CREDENTIAL}.secret", "a secret with a key"),
    "a key for a certificate": (
        {f"{AT}.client_certificate": "payments"}, f"{AT}.client_certificate", "a secret with `certificate` and `key`"),
    "a certificate that nobody has": (
        {f"{AT}.client_certificate": "other"}, f"{AT}.client_certificate", "a name of secrets.agent"),
    "a key for others too": (
        {**NO_CARD, "secrets.group": "shop", f"{AGENT}.secrets.payments.group": "shop"},
        f"{AGENT}.secrets.payments.group", "for nobody else"),
    "a signature": ({f"{CREDENTIAL}.sign": "hmac-sha256"}, f"{CREDENTIAL}.sign", "no filter of Envoy signs by it"),
    "a header of one hop": ({f"{CREDENTIAL}.header": "Connection"}, f"{CREDENTIAL}.header", "a header for a key"),
    "Host": ({f"{CREDENTIAL}.header": "host"}, f"{CREDENTIAL}.header", "a header for a key"),
    "a header of Envoy's": ({f"{CREDENTIAL}.header": "X-Envoy-Key"}, f"{CREDENTIAL}.header", "a header for a key"),
    "a header of ours": ({f"{CREDENTIAL}.header": "x-hostguard-wait"}, f"{CREDENTIAL}.header", "a header for a key"),
    "the header that means a repetition": (
        {f"{AT}.retry.idempotency_header": "X-API-KEY"}, f"{CREDENTIAL}.header", "another header than that of retry"),
    "one try for two keys": ({f"{AT}.retry.tries": 1}, f"{AT}.retry.tries", "2 or more"),
    "two tries for two keys and two regions": (
        {"egress.providers.payments": SECOND, f"{AT}.host": "api.provider.com", f"{AT}.fallback": ["eu.provider.com"],
         f"{AT}.retry.tries": 2}, f"{AT}.retry.tries", "3 or more"),
    "a token by plain HTTP": (
        oauth("http://api.provider.com/token"), f"{CREDENTIAL}.oauth2.url",
        "https"),
    "a token of others": (
        oauth("https://login.other.com/token"), f"{CREDENTIAL}.oauth2.url",
        "one of the provider's `hosts` and `ports`"),
    "a token at another port": (
        oauth("https://api.provider.com:8443/token"),
        f"{CREDENTIAL}.oauth2.url", "one of the provider's"),
    "a token in another header": (
        oauth(header="X-Token"), f"{CREDENTIAL}.header", "Authorization: Bearer"),
    "a token behind another word": (
        oauth(prefix="Token "), f"{CREDENTIAL}.prefix", "Authorization: Bearer"),
    "more connections than ports for two keys": ({f"{AT}.breaker.connections": 30_000}, AT, "ip_local_port_range"),
    "fewer files than connections to two keys": (
        {"limits": {"nofile": 8192}, "gateway.connections_max": 3000}, "gateway.connections_max", "each takes 3"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_it_is_refused_where_it_stands(row: str, refused: Refused, tmp_path: Path) -> None:
    changes, key, expected = ROWS[row]
    (problem,) = refused(changes)
    assert problem.key == key
    assert expected in problem.expected
    line = (tmp_path / "policy.yml").read_text(encoding="utf-8").splitlines()[problem.line - 1]
    whole = yaml.safe_load((tmp_path / "policy.yml").read_text(encoding="utf-8"))
    there = [part for part in key.split(".") if _has(whole, key, part)]
    assert line.strip().partition(":")[0] == there[-1]


def _has(tree: Any, key: str, part: str) -> bool:
    """Whether a key is written as far as this part of it: what is missing is told at what it is missing from."""
    for each in key.split("."):
        if not isinstance(tree, dict) or each not in tree:
            return False
        tree = tree[each]
        if each == part:
            return True
    return False


def test_a_policy_with_all_of_it_is_taken(changed: Change) -> None:
    loaded = changed({})
    assert loaded.warnings == ()
    to = upstream(loaded)
    assert to.credential is not None
    assert (to.credential.place.new, to.credential.place.old) == (
        "/run/secrets/payments/new", "/run/secrets/payments/old")  # fmt: skip
    assert to.client_certificate is not None
    assert set(to.client_certificate.files) == {"/run/secrets/card/pem"}
    assert to.clusters == ("payments", "payments-old")


@pytest.mark.parametrize(
    "changes",
    [
        {"egress.services.vault": {"hosts": ["*.internal.example"], "ports": [8200]}},
        {"egress.services.vault": {"cidrs": ["10.0.0.0/24"], "ports": [8200]}, f"{AGENT}.server": "https://10.0.0.5:8200"},
        {"egress.services": {}, f"{AGENT}.server": "http://127.0.0.1:8200", f"{AGENT}.ca": GONE},
        {"egress.services": {}, f"{AGENT}.server": "http://[::1]:8200", f"{AGENT}.ca": GONE},
        {f"{AGENT}.auth": {**LOGIN, "wrapped_by": "auth/approle/role/shop/secret-id"}},
        {f"{AGENT}.auth": {"method": "cert", "certificate": "/etc/c.pem", "key": "/etc/c.key", "role": "shop"}},
        {f"{AGENT}.auth": {"method": "jwt", "role": "shop", "token": "/run/token", "mount": "auth/k8s"}},
        {f"{AGENT}.secrets.payments.group": "envoy"},
        {f"{CREDENTIAL}.secret": "legacy", f"{AT}.retry.tries": 1},
        {f"{AT}.client_certificate": "paper"},
        {**oauth(), f"{AT}.retry.tries": 1},
    ],
    ids=", ".join,
)  # fmt: skip
def test_what_may_well_be_meant_is_taken(changes: Mapping[str, Any], changed: Change) -> None:
    assert changed(changes).warnings == ()


def test_a_stream_is_not_sent_again_with_the_old_key(changed: Change) -> None:
    loaded = changed({f"{AT}.payload.stream": True})
    (warning,) = loaded.warnings
    assert (warning.key, warning.found) == (f"{AT}.payload.stream", "true")
    assert "not sent again with the old key" in warning.expected
    assert upstream(loaded).clusters == ("payments",)


def test_a_token_has_no_old_key_and_a_server_of_its_own(changed: Change) -> None:
    to = upstream(changed(oauth()))
    assert to.credential is not None
    assert to.credential.oauth is not None
    assert (to.clusters, to.token_cluster) == (("payments",), "payments-token")
    assert (to.credential.oauth.host, to.credential.oauth.port) == ("api.provider.com", 443)


def test_size_counts_the_connections_of_both_keys(changed: Change) -> None:
    one = {f"{CREDENTIAL}.secret": "legacy"}
    numbers = [
        {number.name: number for number in size(changed(changes).policy).numbers if number.name.startswith("gateway")}
        for changes in ({}, one)
    ]
    both, single = numbers
    assert "3 × gateway connections" in both["gateway open files"].formula
    assert "2 × gateway connections" in single["gateway open files"].formula
    assert both["gateway heap"].value == single["gateway heap"].value
    few = {"limits": {"nofile": 8192}}
    found = [derive(changed({**few, **changes}).policy) for changes in ({}, one)]
    assert [each.connections_max for each in found if each] == [(8192 - 1024) // 3, (8192 - 1024) // 2]


def test_a_policy_without_secrets_has_no_places() -> None:
    assert keys.places(None) == {}


@pytest.mark.parametrize(
    ("changes", "accounts", "groups"),
    [
        ({}, ["envoy", "vault-agent"], []),
        ({"secrets.agent.socket": {"group": "shop"}}, ["envoy", "vault-agent"], ["shop"]),
        ({"secrets.group": "vault-agent", "secrets.mode": "0711"}, ["envoy", "vault-agent"], []),
        ({"secrets.agent": GONE, "gateway": GONE}, [], []),
    ],
)
def test_who_must_be_there_before_the_agent(
    changed: Change, changes: Mapping[str, Any], accounts: list[str], groups: list[str]
) -> None:
    """The gateway's group is made with its account: a group of that name would be in its way."""
    assert keys.holders(changed(changes).policy) == (accounts, groups)
