"""What is compiled for Envoy, as text; tests/gateway runs it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from hostguard.controls.gateway import envoy, lua
from tests.gateway.proxy import GATEWAY, PAYLOAD, RETRY, upstream


@pytest.mark.parametrize("longest", range(1, 60))
def test_the_waits_that_are_waited_for_are_those_up_to_the_longest(longest: int) -> None:
    pattern = envoy.seconds(replace(RETRY, wait_max=longest))
    taken = [each for each in range(-1, 1000) if re.fullmatch(pattern, str(each))]
    assert taken == list(range(1, longest + 1))
    assert envoy.seconds(replace(RETRY, wait_max=0)) == ""
    assert [each for each in ("01", "1 ", "", "1.0") if re.fullmatch(pattern, each)] == []


def test_the_same_gateway_has_the_same_bytes_in_whatever_order_it_is_written() -> None:
    one, two = upstream(), upstream(name="other", listen=8401)
    there, back = replace(GATEWAY, upstreams=(one, two)), replace(GATEWAY, upstreams=(two, one))
    for tree in (envoy.bootstrap, envoy.clusters, envoy.listeners, envoy.twin):
        assert envoy.text(tree(there)) == envoy.text(tree(back))
        assert envoy.text(tree(there)).endswith("}\n")


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
        assert tls["common_tls_context"]["validation_context_sds_secret_config"]["name"] == envoy.TRUST


def test_every_program_begins_without_compiled_traces() -> None:
    for schema in (None, True, {"type": "object"}):
        assert lua.source(replace(PAYLOAD, schema=schema)).startswith("if jit then jit.off() end\n")


@pytest.mark.parametrize("text", ['"', "\\", "\n", "]]", "\x00", "\x7f", "é", "😀", "a'b", "--", "%s"])
def test_a_word_of_a_schema_stays_within_its_string(text: str) -> None:
    inside = lua.quoted(text)[1:-1]
    assert re.fullmatch(r"(?:[^\"\\\x00-\x1f\x7f-\U0010ffff]|\\\d{3})*", inside)
    read = re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1])]), inside.encode())
    assert read.decode() == text
