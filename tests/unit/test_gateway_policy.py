"""The gateway of a policy: what it may say, what is refused and where, and the numbers that follow."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import compile_policy
from hostguard.policy.gateway import Gateway, Upstream, derive
from hostguard.policy.load import LoadedPolicy, PolicyError, load, of_variables
from hostguard.policy.model import Policy
from hostguard.policy.sizing import size
from tests.unit.a_policy import GONE, Change, Refused, changing, put, refusing

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {
    "version": 1,
    "capacity": {"peak_rps": 2000, "p99": "800ms", "headroom": 2},
    "egress": {
        "proxy_user": "envoy",
        "resolvers": ["10.0.0.2"],
        "resolver_users": ["envoy"],
        "providers": {"payments": {"hosts": ["api.provider.com"]}},
        "inbound": {"ssh": {"from": ["10.77.0.0/24"], "ports": [22]}},
    },
    "gateway": {"providers": {"payments": {"users": ["shop"], "listen": 84}}},
}
AT = "gateway.providers.payments"


@pytest.fixture
def changed(tmp_path: Path) -> Change:
    return changing(SMALL, tmp_path)


@pytest.fixture
def refused(changed: Change) -> Refused:
    return refusing(changed)


def gateway(policy: Policy) -> Gateway:
    found = derive(policy)
    assert found is not None
    return found


def upstream(loaded: LoadedPolicy) -> Upstream:
    (only,) = gateway(loaded.policy).upstreams
    return only


ROWS: dict[str, tuple[Mapping[str, Any], str, str]] = {
    "no users": ({f"{AT}.users": GONE}, f"{AT}.users", "a value"),
    "neither a port nor a socket": ({f"{AT}.listen": GONE}, AT, "a port, a socket"),
    "no host of the provider's": ({f"{AT}.host": "api.other.com"}, f"{AT}.host", "one of its hosts: api.provider.com"),
    "a fallback of others": ({f"{AT}.fallback": ["eu.other.com"]}, f"{AT}.fallback[0]", "one of its hosts"),
    "a fallback that is first already": (
        {f"{AT}.fallback": ["api.provider.com"]}, f"{AT}.fallback[0]", "this one is asked first"),
    "a wildcard": (
        {"egress.providers.payments.hosts": ["*.provider.com"], f"{AT}.host": "*.provider.com"},
        f"{AT}.host", "none is asked for by a wildcard"),
    "nothing but a wildcard to ask": ({"egress.providers.payments.hosts": ["*.provider.com"]}, f"{AT}.host", "one of"),
    "which of two hosts": (
        {"egress.providers.payments.hosts": ["api.provider.com", "eu.provider.com"]}, f"{AT}.host",
        "one of its hosts: api.provider.com, eu.provider.com"),
    "which of two ports": ({"egress.providers.payments.ports": [443, 8443]}, f"{AT}.port", "one of its ports"),
    "a port of others": ({f"{AT}.port": 8443}, f"{AT}.port", "one of its ports: 443"),
    "a provider without a name": (
        {"egress.providers.payments": {"cidrs": ["203.0.113.5/32"]}}, "egress.providers.payments", "certificate by it"),
    "a provider that egress does not have": (
        {f"{AT[:-8]}other": {"users": ["shop"], "listen": 85}}, "gateway.providers.other", "egress.providers"),
    "no providers": ({"gateway.providers": {}}, "gateway.providers", "at least one"),
    "no egress": ({"egress": GONE}, "egress", "its proxy_user runs it"),
    "past the gateway": ({"egress.via": "direct"}, "egress.via", "gets by without it"),
    "as root": ({"egress.proxy_user": "root", "egress.resolver_users": ["root"]}, "egress.proxy_user", "own"),
    "a resolver that does not answer it": ({"egress.resolver_users": ["shop"]},
                                           "egress.providers.payments.hosts[0]", "that envoy may look up"),
    "a breaker that never trips": (
        {f"{AT}.outlier": {"percent": 49}}, "gateway.providers.payments.outlier.percent", "none is ever cut"),
    "a drain longer than an apply waits": ({"gateway.drain": "51s"}, "gateway.drain", "at most 50 s"),
    "TLS 1.1": ({"gateway.tls.min": "1.1"}, "gateway.tls.min", '"1.2" or "1.3"'),
    "TLS without quotes": ({"gateway.tls.min": 1.2}, "gateway.tls.min", "in quotes"),
    "TLS upside down": ({"gateway.tls": {"min": "1.3", "max": "1.2"}}, "gateway.tls.min", "at most tls.max"),
    "no forward secrecy": (
        {"gateway.tls.ciphers": ["AES128-GCM-SHA256"]}, "gateway.tls.ciphers[0]", "with ECDHE and an AEAD"),
    "no AEAD": ({"gateway.tls.ciphers": ["ECDHE-RSA-AES128-SHA"]}, "gateway.tls.ciphers[0]", "ECDHE and an AEAD"),
    "no certificates to verify by": ({"gateway.ca": ""}, "gateway.ca", "the path of a file"),
    "no verification": ({"gateway.tls.verify": False}, "gateway.tls.verify", "one of ciphers, max, min"),
    "a port that anybody may hold": ({f"{AT}.listen": 8401}, f"{AT}.listen", "any account could listen"),
    "such a port of metrics": (
        {"gateway.metrics": {"listen": 9090, "users": ["prometheus"]}}, "gateway.metrics.listen", "any account"),
    "a port twice": (
        {"gateway.metrics": {"listen": 84, "users": ["prometheus"]}}, "gateway.metrics.listen", "each port once"),
    "a port of inbound": ({f"{AT}.listen": 22}, f"{AT}.listen", "egress.inbound.ssh lets others connect"),
    "ports that the kernel gives to anybody": (
        {"kernel/net.ipv4.ip_unprivileged_port_start": "80"}, "kernel.net.ipv4.ip_unprivileged_port_start", "than 84"),
    "a dot in a name": (
        {"egress/providers/pay.ments": {"hosts": ["b.provider.com"]},
         "gateway/providers/pay.ments": {"users": ["shop"], "listen": 85}},
        "gateway.providers.pay.ments", "a dot would break"),
    "a provider called admin": (
        {"egress.providers.admin": {"hosts": ["b.provider.com"]},
         "gateway.providers.admin": {"users": ["shop"], "listen": 85}},
        "gateway.providers.admin", "but admin, metrics"),
    "a name that the gateway gives to an old key": (
        {"egress.providers.payments-old": {"hosts": ["b.provider.com"]},
         "gateway.providers.payments-old": {"users": ["shop"], "listen": 85}},
        "gateway.providers.payments-old", "ends in -old or -token"),
    "a name that the gateway gives to a token server": (
        {"egress.providers.payments-token": {"hosts": ["b.provider.com"]},
         "gateway.providers.payments-token": {"users": ["shop"], "listen": 85}},
        "gateway.providers.payments-token", "ends in -old or -token"),
    "the proxy as its own user": ({f"{AT}.users": ["shop", "envoy"]}, f"{AT}.users[1]", "neither root nor"),
    "root as a user": ({f"{AT}.users": ["root"]}, f"{AT}.users[0]", "neither root nor egress.proxy_user"),
    "root's group": ({f"{AT}.group": "root"}, f"{AT}.group", "neither root's nor the gateway's"),
    "a try longer than all": ({f"{AT}.timeouts": {"try": "3s", "total": "2s"}}, f"{AT}.timeouts.try", "`total` (2 s)"),
    "a connection longer than a try": (
        {f"{AT}.timeouts": {"connect": "3s"}}, f"{AT}.timeouts.connect", "at most `try` (2 s)"),
    "a wait longer than all": (
        {f"{AT}.timeouts.total": "5s", f"{AT}.retry.wait_max": "6s"}, f"{AT}.retry.wait_max", "timeouts.total` (5 s)"),
    "a wait that no Retry-After says": ({f"{AT}.retry.wait_max": "1500ms"}, f"{AT}.retry.wait_max", "whole seconds"),
    "a wait of a minute": (
        {f"{AT}.timeouts.total": "200s", f"{AT}.retry.wait_max": "60s"}, f"{AT}.retry.wait_max", "1s to 59s"),
    "more than five minutes": ({f"{AT}.timeouts.total": "6m"}, f"{AT}.timeouts.total", "at most 300 s"),
    "a stream again": ({f"{AT}.payload.stream": True, f"{AT}.retry.tries": 2}, f"{AT}.retry.tries", "taken back"),
    "a stream's schema": (
        {f"{AT}.payload": {"stream": True, "schema": {"type": "object"}}}, f"{AT}.payload.schema", "handed on unseen"),
    "a stream's size": (
        {f"{AT}.payload": {"stream": True, "response_max": "1M"}}, f"{AT}.payload.response_max", "handed on unseen"),
    "answers shorter than what is looked at": (
        {f"{AT}.payload": {"response_max": "1M", "validate_max": "2M"}}, f"{AT}.payload.validate_max", "response_max"),
    "a keyword of the schema": (
        {f"{AT}.payload.schema": {"properties": {"id": {"pattern": "^a"}}}},
        f"{AT}.payload.schema.properties.id.pattern", "what the gateway checks"),
    "a keyword in a list": (
        {f"{AT}.payload.schema": {"anyOf": [{}, {"format": "date"}]}},
        f"{AT}.payload.schema.anyOf[1].format", "what the gateway checks"),
    "a schema elsewhere": (
        {f"{AT}.payload.schema": {"$ref": "https://example.com/s.json"}}, f"{AT}.payload.schema.$ref", "checks"),
    "a schema without an end": (
        {f"{AT}.payload.schema": {"allOf": [{"$ref": "#"}]}}, f"{AT}.payload.schema.allOf[0].$ref", "checks"),
    "POST twice": ({f"{AT}.retry.safe": ["GET", "POST"]}, f"{AT}.retry.safe[1]", "idempotency_header"),
    "PATCH twice": ({f"{AT}.retry.safe": ["PATCH"]}, f"{AT}.retry.safe[0]", "idempotency_header"),
    "a header of one hop": (
        {f"{AT}.retry.idempotency_header": "Connection"}, f"{AT}.retry.idempotency_header", "have this one too"),
    "Host": ({f"{AT}.retry.idempotency_header": "Host"}, f"{AT}.retry.idempotency_header", "have this one too"),
    "more connections than ports": ({f"{AT}.breaker.connections": 60_000}, AT, "ip_local_port_range"),
    "more requests a second than ports": ({"capacity.peak_rps": 30_000, "capacity.p99": "100ms"}, AT, "http2"),
    "fewer files than connections": (
        {"limits": {"nofile": 8192}, "gateway.connections_max": 4000}, "gateway.connections_max", "at most 3584"),
    "no files for connections": ({"limits": {"nofile": 1024}}, "limits.nofile", "more than 1024"),
    "a heap larger than its slice": (
        {"slices.egress": {"memory_max": "512M"}, "gateway.heap_max": "512M"}, "gateway.heap_max", "is 536870912"),
    "a slice for one instance": (
        {"slices.egress": {"memory_max": "128M"}}, "slices.egress.memory_max", "at least 130M"),
    "a body larger than the heap": (
        {f"{AT}.payload.request_max": "1G"}, f"{AT}.payload.request_max", "less than the heap"),
    "an answer larger than the heap": (
        {f"{AT}.payload.response_max": "1G"}, f"{AT}.payload.response_max", "less than the heap"),
    "a form of a keyword": (
        {f"{AT}.payload.schema": {"minLength": -1}}, f"{AT}.payload.schema.minLength", "a form"),
    "an address of everybody's": ({"gateway.address": "127.0.0.1"}, "gateway.address", "of its own"),
    "the resolver's address": ({"gateway.address": "127.0.0.83"}, "gateway.address", "of its own"),
    "an address of the network": ({"gateway.address": "10.0.0.5"}, "gateway.address", "127.0.0.0/8"),
    "a buffer that is none": ({"gateway.buffer": "4K"}, "gateway.buffer", "8K to 1M"),
    "a load from nowhere": ({"capacity": GONE}, f"{AT}.load", "peak_rps and p99"),
    "a drop-in for its unit": (
        {"limits": {"units": ["hostguard-gateway.service"]}}, "limits.units[0]", "by itself"),
    "its unit in a slice": (
        {"slices.other": {"units": ["hostguard-gateway.service"], "tasks_max": 5}}, "slices.other.units[0]", "by"),
    "whose admin socket": ({"gateway.manage": False}, "gateway.admin", "the admin socket"),
    "an admin socket of its own": ({"gateway.admin": "/run/envoy/admin.sock"}, "gateway.admin", "manage: false"),
    "a credential without a secret": ({f"{AT}.credential": {}}, f"{AT}.credential.secret", "a value"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_it_is_refused_where_it_stands(row: str, refused: Refused, tmp_path: Path) -> None:
    changes, key, expected = ROWS[row]
    (problem,) = refused(changes)
    assert problem.key == key
    assert expected in problem.expected
    line = (tmp_path / "policy.yml").read_text(encoding="utf-8").splitlines()[problem.line - 1]
    head = line.strip().partition(":")[0]
    if key.endswith("]"):
        assert head.startswith("- ")
    else:
        assert head.removeprefix("- ") in ("version" if key == "egress" else key)


def test_what_was_refused_elsewhere_is_not_told_again(refused: Refused) -> None:
    hosts = {"egress.providers.payments.hosts": ["api_x.provider.com"], f"{AT}.host": "api.provider.com"}
    assert [problem.key for problem in refused(hosts)] == ["egress.providers.payments.hosts[0]"]
    assert [problem.key for problem in refused({"capacity.p99": "soon"})] == ["capacity.p99"]
    assert [problem.key for problem in refused({"egress.proxy_user": "Envoy"})] == ["egress.proxy_user"]
    assert [problem.key for problem in refused({"egress.providers": []})] == ["egress.providers"]


def test_a_name_below_a_wildcard_of_the_provider_s_is_its_own(changed: Change) -> None:
    hosts = {"egress.providers.payments.hosts": ["*.provider.com"], f"{AT}.host": "api.provider.com"}
    assert upstream(changed(hosts)).hosts == ("api.provider.com",)


def test_the_example_is_whole_and_applications_ask_no_resolver() -> None:
    loaded = load(ROOT / "examples" / "gateway.yml")
    assert loaded.warnings == ()
    assert loaded.policy.egress is not None
    assert loaded.policy.egress.resolver_users == ("envoy",)
    found = gateway(loaded.policy)
    (payments,) = found.upstreams
    assert payments.users == ("shop",)
    assert payments.hosts == ("api.provider.com", "eu.api.provider.com")
    assert payments.payload.schema is not None
    assert payments.payload.schema["required"] == ["id", "status"]


def test_nobody_has_to_use_it_under_observe(changed: Change) -> None:
    assert changed({}).warnings == ()
    (warning,) = changed({"egress.mode": "observe"}).warnings
    assert (warning.key, warning.found) == ("egress.mode", "observe")
    assert "nothing makes anybody use it" in warning.expected


def test_a_handover_that_cuts_requests_deserves_a_word(changed: Change) -> None:
    (warning,) = changed({f"{AT}.timeouts.total": "11s"}).warnings
    assert (warning.key, warning.found) == ("gateway.drain", "10 s")
    assert "(11 s)" in warning.expected


def test_providers_share_the_capacity_and_are_told_so(changed: Change) -> None:
    second = {
        "egress.providers.mail": {"hosts": ["mail.provider.com"]},
        "gateway.providers.mail": {"users": ["shop"], "listen": 85, "load": {"peak_rps": 10, "p99": "1s"}},
    }
    loaded = changed(second)
    (warning,) = loaded.warnings
    assert warning.key == f"{AT}.load"
    assert "1 of 2" in warning.expected
    assert [each.requests for each in gateway(loaded.policy).upstreams] == [1600, 20]


def test_the_article_s_numbers(changed: Change) -> None:
    loaded = changed({})
    found, to = gateway(loaded.policy), upstream(loaded)
    assert (to.requests, to.connections, to.pending, to.retries) == (3200, 3200, 1000, 3200)
    assert (to.hosts, to.port, to.retry.tries, to.retry.wait_max, to.total) == (("api.provider.com",), 443, 4, 4, 8)
    assert (found.account, found.address, found.workers, found.slice) == ("envoy", "127.0.0.84", 2, "")
    assert (found.connections_max, found.nofile) == (6400, 65535)
    assert found.heap_max == 464 * 2**20  # 6400 × 2 × 32 KiB + 64 MiB, as `memory, most`
    assert found.memory == (464 + 66) * 2**20


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({f"{AT}.protocol": "http2"}, "connections", 32 + 2),
        ({f"{AT}.breaker.requests": 7}, "connections", 7),
        ({f"{AT}.breaker.requests": 7}, "retries", 7),
        ({f"{AT}.breaker.retries": 3}, "retries", 3),
        ({f"{AT}.load": {"peak_rps": 0.1, "p99": "1ms"}}, "requests", 1),
        ({f"{AT}.load": {"peak_rps": 0.1, "p99": "1ms"}}, "pending", 1),
        ({f"{AT}.timeouts.try": "5s"}, "total", 19),
        ({f"{AT}.retry.wait_max": "9s", f"{AT}.timeouts.try": "9s"}, "total", 36),
        ({f"{AT}.payload.stream": True}, "total", 2),
        ({f"{AT}.objective.p99": "3s"}, "p99", 3),
        ({f"{AT}.load": {"peak_rps": 1, "p99": "10ms"}}, "p99", 0.5),
        ({f"{AT}.load": {"peak_rps": 1, "p99": "30s"}}, "p99", 2),
        ({f"{AT}.objective.errors": "0.5%"}, "errors", 0.005),
    ],
    ids=str,
)
def test_a_number_follows(changes: Mapping[str, Any], name: str, value: float, changed: Change) -> None:
    assert getattr(upstream(changed(changes)), name) == value


def test_a_short_answer_is_waited_for_no_longer_than_all_takes(changed: Change) -> None:
    assert upstream(changed({f"{AT}.retry.tries": 1})).retry.wait_max == 2
    assert upstream(changed({f"{AT}.timeouts.total": "2500ms"})).retry.wait_max == 2
    assert upstream(changed({f"{AT}.timeouts": {"total": "900ms", "try": "500ms"}})).retry.wait_max == 0


def test_what_is_looked_at_is_no_more_than_what_arrives(changed: Change) -> None:
    assert upstream(changed({})).payload.validate_max == 2**20
    assert upstream(changed({f"{AT}.payload.response_max": "64K"})).payload.validate_max == 64 * 2**10


def test_a_slice_holds_two_instances_and_the_schemas(changed: Change) -> None:
    slices = {"slices.egress": {"memory_max": "512M", "cpu_quota": "150%"}}
    found = gateway(changed(slices).policy)
    assert (found.slice, found.workers, found.heap_max) == ("hostguard-egress.slice", 2, 429_494_272)  # 80 %, in pages
    assert found.memory <= 512 * 2**20
    small = gateway(changed({"slices.egress": {"memory_max": "256M"}}).policy)
    assert (small.heap_max, small.memory) == ((256 - 66) * 2**20, 256 * 2**20)
    with_schema = gateway(changed({**slices, f"{AT}.payload.schema": {}}).policy)
    assert with_schema.memory - with_schema.heap_max == (66 + 2 * 16) * 2**20
    of_capacity = gateway(changed({"slices.egress": {"cpu_quota": "900%"}}).policy)
    assert (of_capacity.workers, of_capacity.memory) == (4, int(0.8 * 464 * 2**20) // 4096 * 4096 + 66 * 2**20)


def test_connections_fit_the_files_that_the_policy_gives(changed: Change) -> None:
    found = gateway(changed({"limits": {"nofile": 8192}}).policy)
    assert (found.connections_max, found.nofile) == (3584, 8192)
    found = gateway(changed({"gateway.connections_max": 100_000}).policy)
    assert (found.connections_max, found.nofile) == (100_000, 201_024)


def test_size_shows_each_number_with_its_formula(changed: Change) -> None:
    numbers = {number.name: number for number in size(changed({f"{AT}.breaker.requests": 7}).policy).numbers}
    requests = numbers["gateway payments requests"]
    assert (requests.value, requests.set_to) == (3200, "7")
    assert requests.formula == "rps × p99 × headroom = 2000 × 0.8 s × 2"
    assert numbers["gateway payments connections"].value == 7
    assert {name.removeprefix("gateway ") for name in numbers if name.startswith("gateway ")} == {
        *(f"payments {what}" for what in ("requests", "connections", "pending", "retries", "total", "wait_max")),
        "workers", "connections", "open files", "heap", "memory",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes", [{}, {"slices.egress": {"memory_max": "512M"}}, {f"{AT}.protocol": "http2"}], ids=str
)
def test_size_shows_the_very_numbers_of_the_gateway(changes: Mapping[str, Any], changed: Change) -> None:
    policy = changed(changes).policy
    found, (to,) = gateway(policy), gateway(policy).upstreams
    shown = {n.name.removeprefix("gateway "): n.value for n in size(policy).numbers if n.name.startswith("gateway")}
    assert shown == {
        "payments requests": to.requests, "payments connections": to.connections, "payments pending": to.pending,
        "payments retries": to.retries, "payments total": to.total * 1000,
        "payments wait_max": to.retry.wait_max * 1000,
        "workers": found.workers, "connections": found.connections_max, "open files": found.nofile,
        "heap": found.heap_max // 2**20, "memory": -(-found.memory // 2**20),
    }  # fmt: skip


def test_a_policy_without_a_gateway_has_none() -> None:
    assert derive(Policy.model_validate({"version": 1, "limits": {}})) is None


def schema_at(folder: Path, text: str | bytes) -> Mapping[str, Any]:
    (folder / "schemas").mkdir(exist_ok=True)
    (folder / "schemas" / "payments.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return {f"{AT}.payload.schema": "schemas/payments.json"}


def test_a_schema_is_read_beside_the_policy_and_kept_with_it(changed: Change, tmp_path: Path) -> None:
    first = changed(schema_at(tmp_path, '{"type": "object"}'))
    assert first.files == (tmp_path / "schemas" / "payments.json",)
    assert upstream(first).payload.schema == {"type": "object"}
    second = changed(schema_at(tmp_path, '{"type": "array"}'))
    assert first.sha256 != second.sha256, "another schema is another policy"
    document = json.loads(json.dumps(compile_policy(first).to_apply()))["policy"]["document"]
    later = of_variables(document, "generation 7")
    assert upstream(later).payload.schema == {"type": "object"}, "where there is no such file"
    assert later.policy == first.policy


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "payments.json:1:1: no JSON"),
    "half of it": ('{"type": ', "payments.json:1:10: no JSON"),
    "no object": ("[]", "an empty list"),
    "a comment": ('{"type": "object"} // x', "no JSON"),
    "no UTF-8": (b'{"title": "\xff"}', "no UTF-8"),
    "a key twice": ('{"type": "object", "type": "array"}', "the key type twice"),
    "a number that is none": ('{"minimum": NaN}', "NaN"),
    "numbers without end": ('{"minimum": ' + "9" * 5000 + "}", "without end"),
    "nesting without end": ("[" * 100_000, "without end"),
    "deep nesting": ('{"items": ' * 40 + "{}" + "}" * 40, "a mapping"),
    "many values": (json.dumps({"enum": list(range(30_000))}), "a mapping"),
    "half a surrogate pair": (r'{"title": "\ud800"}', "a mapping"),
    "megabytes": (b" " * (2**18 + 1), "more than 256 KiB"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_no_schema_is_told_at_its_key(broken: str, refused: Refused, tmp_path: Path) -> None:
    text, found = BROKEN[broken]
    (problem,) = refused(schema_at(tmp_path, text))
    assert problem.key == f"{AT}.payload.schema"
    assert found in problem.found
    lines = (tmp_path / "policy.yml").read_text(encoding="utf-8").splitlines()
    assert lines[problem.line - 1].strip() == "schema: schemas/payments.json"
    assert str(problem).isprintable()


def test_a_keyword_in_a_file_is_told_at_the_key_that_names_it(refused: Refused, tmp_path: Path) -> None:
    (problem,) = refused(schema_at(tmp_path, '{"properties": {"id": {"oneOf": []}}}'))
    assert problem.key == f"{AT}.payload.schema.properties.id.oneOf"
    assert problem.line > 1
    assert problem.found == "the keyword oneOf"


@pytest.mark.parametrize("path", ["../secret.json", "/etc/shadow", "a/../../x", "schemas/.x", "~/x", "x\ny", "", "a b"])
def test_a_schema_s_path_does_not_lead_away(path: str, refused: Refused) -> None:
    (problem,) = refused({f"{AT}.payload.schema": path})
    assert "a path from the policy's folder" in problem.expected


def test_a_schema_that_is_no_file_is_not_waited_for(refused: Refused, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path, found in (("pipe", "no regular file"), ("folder", "folder: "), ("gone", "No such file")):
        (problem,) = refused({f"{AT}.payload.schema": path})
        assert found in problem.found


def test_variables_of_an_inventory_hold_the_schema_itself() -> None:
    inline = put(SMALL, {f"{AT}.payload.schema": {"type": "object"}})
    assert upstream(of_variables(inline, "host1")).payload.schema == {"type": "object"}
    with pytest.raises(PolicyError, match="expected the schema itself"):
        of_variables(put(SMALL, {f"{AT}.payload.schema": "schemas/payments.json"}), "host1")
