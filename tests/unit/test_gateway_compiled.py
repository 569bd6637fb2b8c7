"""What is compiled for Envoy, as text; tests/gateway runs it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from hostguard.controls.gateway import envoy, lua
from hostguard.controls.gateway.envoy.route import seconds
from hostguard.controls.gateway.envoy.secret import TRUST
from hostguard.controls.gateway.envoy.tree import as_json
from hostguard.policy.gateway import Credential, Gateway, OAuth
from hostguard.policy.keys import Place
from tests.gateway.proxy import GATEWAY, PAYLOAD, RETRY, upstream


@pytest.mark.parametrize("longest", range(1, 60))
def test_the_waits_that_are_waited_for_are_those_up_to_the_longest(longest: int) -> None:
    pattern = seconds(replace(RETRY, wait_max=longest))
    taken = [each for each in range(-1, 1000) if re.fullmatch(pattern, str(each))]
    assert taken == list(range(1, longest + 1))
    assert seconds(replace(RETRY, wait_max=0)) == ""
    assert [each for each in ("01", "1 ", "", "1.0") if re.fullmatch(pattern, each)] == []


def test_the_same_gateway_has_the_same_bytes_in_whatever_order_it_is_written() -> None:
    one, two = upstream(), upstream(name="other", listen=8401)
    there, back = replace(GATEWAY, upstreams=(one, two)), replace(GATEWAY, upstreams=(two, one))
    for tree in (envoy.bootstrap, envoy.clusters, envoy.listeners, envoy.twin):
        assert as_json(tree(there)) == as_json(tree(back))
        assert as_json(tree(there)).endswith("}\n")


def test_a_version_changes_with_the_content_alone() -> None:
    def versions(up: object) -> tuple[str, str]:
        g = replace(GATEWAY, upstreams=(up,))
        return envoy.clusters(g)["version_info"], envoy.listeners(g)["version_info"]

    assert versions(upstream()) == versions(upstream())
    assert versions(upstream(requests=1))[0] != versions(upstream())[0]
    assert versions(upstream(requests=1))[1] == versions(upstream())[1]
    assert versions(upstream(total=1))[0] == versions(upstream())[0]
    assert versions(upstream(total=1))[1] != versions(upstream())[1]


def test_every_provider_is_verified() -> None:
    g = replace(GATEWAY, upstreams=(upstream(), upstream(name="other")))
    for cluster in envoy.clusters(g)["resources"]:
        tls = cluster["transport_socket"]["typed_config"]
        assert (tls["auto_host_sni"], tls["auto_sni_san_validation"]) == (True, True)
        assert tls["common_tls_context"]["validation_context_sds_secret_config"]["name"] == TRUST


KEYS = Place("keys", new="/run/secrets/keys/new", old="/run/secrets/keys/old")
CARD = Place("card", certificate="/run/secrets/card/pem", key="/run/secrets/card/pem")
TOKENS = OAuth("login.provider.com", 443, "https://login.provider.com/token", "shop", ())


def credentials() -> Gateway:
    """With all that the gateway adds; one secret is for two providers."""
    ups = (
        upstream(credential=Credential(KEYS, "X-Api-Key", "", None), client_certificate=CARD),
        upstream(name="other", credential=Credential(KEYS, "Authorization", "Bearer ", TOKENS)),
    )
    return replace(GATEWAY, upstreams=ups)


def test_the_old_key_and_the_token_server_have_clusters_of_their_own() -> None:
    clusters = {each["name"]: each for each in envoy.clusters(credentials())["resources"]}
    assert list(clusters) == ["other", "other-token", "payments", "payments-old"]
    for name, cluster in clusters.items():
        assert cluster["transport_socket"]["typed_config"]["auto_sni_san_validation"] is True
        assert cluster["load_assignment"]["cluster_name"] == name
        assert {"circuit_breakers", "outlier_detection"} <= cluster.keys()


def test_a_secret_has_a_file_of_its_own_that_says_where_it_lies() -> None:
    found = envoy.secrets(credentials())
    assert list(found) == [f"/etc/hostguard/gateway/secret-{name}.json" for name in ("card-certificate", "keys-new",
                                                                                       "keys-old")]  # fmt: skip
    text = "".join(map(as_json, found.values()))
    assert {path for path in (*KEYS.files, *CARD.files) if path in text} == {*KEYS.files, *CARD.files}
    assert "inline" not in text
    assert all(len(each["resources"]) == 1 for each in found.values()), "Envoy takes one of them alone"


def test_what_is_only_validated_needs_no_secret() -> None:
    assert "/run/secrets" not in as_json(envoy.twin(credentials()))


def test_every_program_begins_without_compiled_traces() -> None:
    for schema in (None, True, {"type": "object"}):
        assert lua.source(replace(PAYLOAD, schema=schema)).startswith("if jit then jit.off() end\n")
    assert lua.tokens().startswith("if jit then jit.off() end\n")


@pytest.mark.parametrize("text", ['"', "\\", "\n", "]]", "\x00", "\x7f", "é", "😀", "a'b", "--", "%s"])
def test_a_word_of_a_schema_stays_within_its_string(text: str) -> None:
    inside = lua.quoted(text)[1:-1]
    assert re.fullmatch(r"(?:[^\"\\\x00-\x1f\x7f-\U0010ffff]|\\\d{3})*", inside)
    read = re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1])]), inside.encode())
    assert read.decode() == text
