"""The judgement of a fault rehearsal, by what was seen alone: what holds, what is wrong, and what proves nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import dnslib
import jsonschema
import pytest

from hostguard.policy.gateway import Credential, Upstream, derive
from hostguard.policy.keys import Place
from hostguard.policy.load import known_keys, load
from hostguard.rehearse import dns
from hostguard.rehearse.faults import sample
from hostguard.rehearse.faults.cases import FAULTS
from hostguard.rehearse.faults.clones import DOMAIN, FAST, WAYS, cloned, distinct
from hostguard.rehearse.faults.fault import Fault, Numbers
from hostguard.rehearse.faults.judge import EMPTY, beside, is_busy, judge, row, summary
from hostguard.rehearse.faults.result import Call, Reached, Way
from tests.unit.a_gateway import UPSTREAM

EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway.yml"
SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}
KEYS = Credential(Place("keys", new="/k/new", old="/k/old"), "Authorization", "Bearer ", None)


def numbers(headroom: float = 2.0, caller: float = 30.0, *, fast: bool = False, **changes: Any) -> Numbers:
    """Of one region, unless it is said otherwise."""
    retry, payload = changes.pop("retry", {}), changes.pop("payload", {})
    up: Upstream = replace(UPSTREAM, **{"hosts": ("api.provider.com",), **changes})
    up = replace(up, retry=replace(up.retry, **retry), payload=replace(up.payload, **payload))
    return Numbers(up, up, "/ca.pem", "1.2", "/usr/bin/envoy", 10.0, headroom, caller, fast)


def call(
    status: int | None = 200,
    seconds: float = 0.01,
    *,
    at: float = 0.0,
    method: str = "GET",
    whole: bool = True,
    **of: Any,
) -> Call:
    error = "" if status else "refused"
    return {"at": at, "seconds": seconds, "method": method, "status": status, "error": error, "whole": whole, "size": 2,
            "retry_after": "", **of}  # type: ignore[typeddict-item]  # fmt: skip


def seen(at: float = 0.0, *, region: int = 1, method: str = "GET", status: int | None = 200, key: Any = "") -> Reached:
    return {"at": at, "region": region, "address": "198.19.0.1", "method": method, "key": key, "tls": "TLSv1.3",
            "status": status, "size": 0}  # fmt: skip


def way(*calls: Call, reached: int | list[Reached] | None = None) -> Way:
    """`reached`: so many requests at the time of the first call; left out, one a call."""
    many = len(calls) if reached is None else reached
    found = [seen(calls[0]["at"] if calls else 0.0)] * many if isinstance(many, int) else many
    return {"summary": "", "calls": list(calls), "reached": found, "not_tried": ""}


def outage(bad: int, alone: int, back: float | None = 35.0) -> Way:
    """So many failures that reached it, so many answers of the gateway's own, and the time at which it is well."""
    calls = [call(503, at=at / 100, method="POST") for at in range(bad)]
    found = [seen(each["at"], method="POST", status=503) for each in calls]
    calls += [call(503, 0.001, at=1 + at / 100, method="POST") for at in range(alone)]
    if back is not None:
        calls.append(call(200, at=back, method="POST"))
        found.append(seen(back, method="POST"))
    return way(*calls, reached=found)


ONE, TWO = numbers(), numbers(hosts=("api.provider.com", "eu.api.provider.com"))
KEYED = numbers(credential=KEYS)
STREAM = numbers(payload={"stream": True}, retry={"tries": 1})
ONCE = numbers(retry={"tries": 1})
HELD = ""
SEEN: list[tuple[str, Numbers, Way, str]] = [
    ("nothing", ONE, way(call(), call(method="POST")), HELD),
    ("nothing", ONE, way(call(), call(503, method="POST")), "503 after 10 ms, and not 200"),
    ("slow", ONE, way(call(200, 0.8)), HELD),
    ("slow", ONE, way(call(504, 1.0)), "504 after 1 s, and not 200"),
    ("hangs", ONE, way(call(504, 6.0), reached=3), HELD),
    ("hangs", ONE, way(call(504, 7.0), reached=3), "504 came after 7 s"),
    ("hangs", ONE, way(call(None, 6.0), reached=3), "refused after 6 s, and no whole answer of 5xx"),
    ("hangs", ONE, way(call(504, 6.0), reached=5), "5 requests reached it, for one of 4 tries"),
    ("hangs", numbers(retry={"timeouts": False}), way(call(504, 2.0)), HELD),
    ("hangs", numbers(retry={"timeouts": False}), way(call(504, 4.0)), "504 came after 4 s"),
    ("drip", ONE, way(call(504, 6.0)), HELD),
    ("drip", ONE, way(call(200, 6.0, whole=False)), "200, cut after 6 s, and no whole answer of 5xx"),
    ("drip", STREAM, way(call(200, 6.0, whole=False)), HELD),
    ("drip", STREAM, way(call(200, 9.0, whole=False)), "200, cut after 9 s"),
    ("503-then-well", ONE, outage(5, 7), HELD),
    ("503-then-well", ONE, outage(7, 5), "7 requests of the outage reached it"),
    ("503-then-well", ONE, outage(12, 0), "all 12 requests of the outage reached it: it was never cut"),
    ("503-then-well", ONE, outage(5, 7, back=None), "not well again 43 s after it was"),
    ("503-then-well", ONE, outage(5, 7, back=42.0), "well again 41.96 s after the last failure"),
    ("503-then-well", TWO, outage(10, 7), HELD),
    ("503-storm", ONE, way(*[call(503)] * 30, reached=41), HELD),
    ("503-storm", ONE, way(*[call(503)] * 30, reached=61), "61 tries of 30 requests reached one region"),
    ("503-storm", TWO, way(*[call(503)] * 30, reached=[seen(region=1)] * 60 + [seen(region=2)] * 60), HELD),
    ("503-storm", numbers(headroom=3.0), way(*[call(503)] * 30, reached=90), HELD),
    ("503-storm", ONE, way(*[call(503)] * 29, call(200)), "200, and not 503"),
    (
        "503-region", TWO,
        way(call(), call(503, method="POST"), reached=[seen(), seen(region=2), seen(method="POST")]), HELD,
    ),
    ("503-region", TWO, way(call(503), call(503, method="POST")), "GET got 503: region 2 was asked not at all"),
    (
        "503-region", TWO,
        way(call(), call(method="POST"), reached=[seen(method="POST"), seen(region=2, method="POST")]),
        "POST reached it twice",
    ),
    ("429-short", ONE, way(call(200, 1.3), reached=[seen(0.0), seen(1.2)]), HELD),
    ("429-short", ONE, way(call(200, 0.3), reached=[seen(0.0), seen(0.2)]), "asked again after 200 ms"),
    ("429-short", ONE, way(call(200, 2.5), reached=[seen(0.0), seen(2.4)]), "asked again after 2.4 s"),
    ("429-short", ONE, way(call(504, 1.0)), "504 after 1 s, and not 200"),
    ("429-short", ONCE, way(call(429, retry_after="1")), HELD),
    ("429-short", ONCE, way(call(200, 1.2), reached=2), "200 after 1.2 s, and not 429"),
    ("429-long", ONE, way(call(429, retry_after="60")), HELD),
    ("429-long", ONE, way(call(429, retry_after="")), "429 without its Retry-After"),
    ("429-long", ONE, way(call(429, 0.4, retry_after="60"), reached=4), "it was asked 4 times"),
    ("reset-within", ONE, way(call(502)), HELD),
    ("reset-within", ONE, way(call(200, whole=False)), "200, cut after 10 ms, and no whole answer of 5xx"),
    ("reset-within", STREAM, way(call(200, whole=False)), HELD),
    ("reset-unsafe", ONE, way(call(503, method="POST")), HELD),
    ("reset-unsafe", ONE, way(call(503, method="POST"), reached=2), "it was sent twice"),
    ("reset-safe", ONE, way(call(), reached=2), HELD),
    ("reset-safe", ONE, way(call(503), reached=1), "503, sent once"),
    ("reset-safe", ONCE, way(call(503)), HELD),
    ("large-request", ONE, way(call(413), reached=0), HELD),
    ("large-request", ONE, way(call(413), reached=1), "it was sent once"),
    ("large-request", ONE, way(call(None), reached=0), "refused, and not 413"),
    ("large-answer", ONE, way(call(500)), HELD),
    ("large-answer", ONE, way(call(200)), "200 after 10 ms, and no whole answer of 5xx"),
    ("wrong-schema", numbers(payload={"schema": SCHEMA}), way(call(502)), HELD),
    ("wrong-schema", numbers(payload={"schema": SCHEMA}), way(call(200)), "200 after 10 ms"),
    ("expired", ONE, way(call(503), reached=[seen(method="")]), HELD),
    ("expired", ONE, way(call(503)), "the request was sent, once"),
    ("old-tls", ONE, way(call(503), reached=0), HELD),
    ("old-tls", ONE, way(call(503, 3.0), reached=0), "503 came after 3 s"),
    ("name-moved", ONE, way(call(), call(503, at=0.1), call(503, at=1.4), call(at=1.6), call(at=1.7)), HELD),
    ("name-moved", ONE, way(call(), call(503, at=0.1), call(503, at=4.0), call(at=4.1)), "failures for 4.01 s"),
    ("name-moved", ONE, way(call(), call(503, at=0.1), call(503, at=7.0)), "503, 7 s after it moved"),
    ("nxdomain", ONE, way(call(), call(503, at=3.0), call(at=6.0)), HELD),
    ("nxdomain", ONE, way(call(), call(503, 4.0, at=3.0), call(at=9.0)), "503 came after 4 s"),
    ("nxdomain", ONE, way(call(), call(503, at=3.0), call(503, at=11.0)), "503 long after it was back"),
    ("nxdomain", TWO, way(call(), call(503, at=3.0), call(at=6.0)), "503 after 10 ms, and not 200 by region 2"),
    ("resolver-fails", ONE, way(call(), call(at=3.0)), HELD),
    ("resolver-fails", ONE, way(call(), call(503, at=3.0)), "503 after 10 ms, and not 200"),
    ("key-revoked", KEYED, way(call(), reached=[seen(key="new")]), HELD),
    ("key-revoked", KEYED, way(call(), reached=[seen(key="new"), seen(key="old")]), "the old key was sent"),
    ("key-early", KEYED, way(call(), reached=[seen(key="new"), seen(key="old")]), HELD),
    ("key-early", KEYED, way(call(), reached=[seen(key="old")]), "keys were sent as old"),
    ("key-early", KEYED, way(call(401), reached=[seen(key="new")]), "401 after 10 ms, and not 200"),
    ("key-empty", KEYED, way(call(503), reached=0), HELD),
    ("key-empty", KEYED, way(call(503)), "1 requests were sent without a key"),
    ("agent-gone", KEYED, way(call(), reached=[seen(key="new")]), HELD),
    ("agent-gone", KEYED, way(call(503), reached=0), "503 after 10 ms, and not 200"),
    ("refuses", TWO, way(call(200, 0.2)), HELD),
    ("refuses", TWO, way(call(503, 0.2)), "503 after 200 ms, and not 200 by region 2"),
    ("refuses", ONE, way(call(503, 0.4), reached=0), HELD),
    ("silent", TWO, way(call(200, 0.4)), HELD),
    ("silent", TWO, way(call(200, 3.0)), "200 after 3 s"),
    ("silent", ONE, way(call(503, 1.7), reached=0), HELD),
    ("silent", ONE, way(call(503, 12.0), reached=0), "503 came after 12 s"),
    ("overload", numbers(requests=2), way(call(), call(), call(503), call(503), reached=2), HELD),
    ("overload", numbers(requests=2), way(call(), call(), call(), call(503), reached=3), "3 were under way at once"),
    ("overload", numbers(requests=2), way(*[call(503)] * 4, reached=0), "none was served: 503"),
    ("overload", numbers(requests=2), way(call(), call(503, 4.0), reached=1), "503 after 4 s"),
    ("stranger", ONE, way(call(None), reached=0), HELD),
    ("stranger", ONE, way(call(200)), "200, and the provider was reached"),
    ("killed", ONE, way(call(), call(None, at=1.0), call(at=1.4), reached=2), HELD),
    ("killed", ONE, way(call(), call(None, at=1.0), call(at=4.0), reached=2), "well again after 3 s"),
    ("killed", ONE, way(call(None), call(at=0.1, method="POST"), reached=[seen(method="POST")] * 2), "1 POST"),
    ("handover", ONE, way(call(), call()), HELD),
    ("handover", ONE, way(call(), call(503)), "1 of 2 failed"),
]  # fmt: skip


@pytest.mark.parametrize(("id", "n", "through", "words"), SEEN)
def test_what_was_seen_is_judged(id: str, n: Numbers, through: Way, words: str) -> None:
    said = FAULTS[id].wrong(n, through)
    assert said.startswith(words) if words else said == ""


def test_each_fault_is_seen_to_hold_and_to_be_wrong() -> None:
    well = {id for id, _, _, words in SEEN if not words}
    wrong = {id for id, _, _, words in SEEN if words}
    same = {"other-name", "other-ca"}  # as `expired`, by the same code
    assert well == wrong == FAULTS.keys() - same


def test_a_fault_that_does_not_show_directly_proves_nothing() -> None:
    held = way(call(504, 6.0), reached=3)
    assert judge(FAULTS["hangs"], ONE, way(call(None, 12.0)), held) == ("held", "")
    assert judge(FAULTS["hangs"], ONE, way(call(200)), held)[0] == "no_proof"
    assert judge(FAULTS["hangs"], ONE, {**EMPTY, "not_tried": "no reason"}, held)[0] == "no_proof"


def test_a_gateway_that_was_not_tried_is_no_row_that_held() -> None:
    found = judge(FAULTS["hangs"], ONE, way(call(None, 12.0)), {**EMPTY, "not_tried": "one account only"})
    assert found == ("not_tried", "one account only")


def test_whoever_waits_longer_than_its_caller_is_wrong() -> None:
    slow = numbers(caller=5.0)
    verdict, words = judge(FAULTS["hangs"], slow, way(call(None, 12.0)), way(call(None, 5.0), reached=3))
    assert (verdict, words[:20]) == ("wrong", "no answer within 5 s")


def test_an_outage_whose_end_is_too_far_off_is_cut_and_not_seen_to_end() -> None:
    long = numbers(ejection=300.0)
    direct, through = outage(12, 0), outage(5, 7, back=None)
    verdict, words = judge(FAULTS["503-then-well"], long, direct, through)
    assert (verdict, words.endswith("--fast shows it")) == ("not_tried", True)
    assert judge(FAULTS["503-then-well"], long, direct, outage(12, 0, back=None))[0] == "wrong"


def test_what_happened_to_a_region_is_marked() -> None:
    marks = [(mark["event"], mark["at"]) for mark in FAULTS["503-then-well"].marks(ONE, outage(5, 7))]
    assert marks == [("ejected", 1.0), ("recovered", 35.0)]


def test_a_row_that_is_wrong_on_a_machine_that_was_busy_proves_nothing() -> None:
    found = row(FAULTS["hangs"], ONE, "payments", dict.fromkeys(WAYS, way(call(504, 9.0), reached=3)), [], lambda _: 3)
    assert found["verdict"] == "wrong"
    assert not is_busy(beside(found, 0.4))
    assert is_busy(beside(found, 0.6))
    assert beside({**found, "verdict": "held"}, 0.6)["verdict"] == "held"


def every_number() -> list[Numbers]:
    return [ONE, TWO, KEYED, STREAM, ONCE, numbers(payload={"schema": SCHEMA}), numbers(listen=None)]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_fault_names_a_key_that_policies_have(fault: Fault) -> None:
    fitting = [n for n in every_number() if not fault.unfit(n)]
    assert fitting
    for n in fitting:
        found = row(fault, n, "payments", dict.fromkeys(WAYS, way(call(), call())), [], lambda _: 3)
        assert found["title"]
        assert found["expected"]
        assert found["line"] == 3
        section, _, name = found["key"].rpartition(".")
        assert name in known_keys(tuple(section.split(".")))
        assert found["value"] or name == "safe"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (way(call()), "200"),
        (way(call(504, 6.0), reached=3), "504, 6 s; reached 3"),
        (outage(5, 7), "5 x 503, 7 x 503 at once, 200; reached 6"),
        (way(call(None), reached=0), "refused; reached 0"),
        (way(call(200, whole=False)), "200, cut"),
    ],
)
def test_a_way_is_told_in_a_few_words(found: Way, words: str) -> None:
    assert summary(found) == words


# The policy, cloned


def test_a_clone_has_its_provider_s_numbers() -> None:
    policy = load(EXAMPLE).policy
    made = cloned(policy, ["payments"], list(FAULTS.values()), fast=False, caller=30.0)
    own = derive(policy).upstreams[0]  # type: ignore[union-attr]  # the example has a gateway
    same = {"hosts": own.hosts, "name": own.name, "listen": own.listen, "group": own.group}
    breaker = {"requests": own.requests, "connections": own.connections, "pending": own.pending, "retries": own.retries}
    for clone in made.clones:
        more = breaker if clone.fault.id == "overload" else {}
        assert replace(clone.numbers.up, **same, **more) == own
        assert all(host.endswith(DOMAIN) for plan in clone.plans.values() for host in plan.hosts)
    places = [plan.network for clone in made.clones for plan in clone.plans.values()]
    assert len(places) == len(set(places)) == len(made.clones) * len(WAYS)
    ports = [clone.listen for clone in made.clones]
    assert len(ports) == len(set(ports))
    assert max(ports) < 1024
    fitting = {id for id, fault in FAULTS.items() if not fault.unfit(made.clones[0].numbers)}
    assert {clone.fault.id for clone in made.clones} == fitting


def test_a_policy_is_applied_with_its_own_rules_and_with_no_provider_but_clones() -> None:
    policy = load(EXAMPLE).policy
    made = cloned(policy, ["payments"], list(FAULTS.values()), fast=False, caller=30.0)
    for act in made.acts:
        assert act.policy.gateway
        assert act.policy.egress
        assert policy.egress
        assert act.policy.gateway.providers.keys() == {each.name for each in (*act.clones, act.control)}
        kept = {name: act.policy.egress.providers[name] for name in policy.egress.providers}
        changed = act.policy.egress.model_copy(update={"providers": kept})
        assert changed == policy.egress


def test_in_a_hurry_ejection_and_interval_alone_are_shorter() -> None:
    policy = load(EXAMPLE).policy
    (slow,), (fast,) = (
        cloned(policy, ["payments"], [FAULTS["hangs"]], fast=fast, caller=30.0).clones for fast in (False, True)
    )
    shorter = {"interval": slow.numbers.up.interval / FAST, "ejection": slow.numbers.up.ejection / FAST}
    assert fast.numbers.up == replace(slow.numbers.up, **shorter)


def test_providers_of_the_same_numbers_are_rehearsed_once() -> None:
    g = derive(load(EXAMPLE).policy)
    assert g
    twin = replace(g.upstreams[0], name="cards", hosts=("a.example", "b.example"), listen=86, users=("till",))
    other = replace(g.upstreams[0], name="letters", total=3.0)
    assert distinct(replace(g, upstreams=(g.upstreams[0], other, twin))) == [["payments", "cards"], ["letters"]]


# Bodies and names


SCHEMAS: list[Mapping[str, Any]] = [
    {"type": "object", "required": ["id", "status"],
     "properties": {"id": {"type": "string", "minLength": 12, "maxLength": 64}, "status": {"enum": ["paid"]}}},
    {"type": "array", "minItems": 2, "items": {"$ref": "#/$defs/1"}, "$defs": {"1": {"type": "integer", "minimum": 9}}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "object", "required": ["n"], "properties": {"n": {"const": None}}}}},
    {"type": "string", "maxLength": 3},
    {"type": "number", "exclusiveMaximum": -3},
    {"required": ["x"], "additionalProperties": {"type": "boolean"}},
    {"type": ["null", "object"]},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_body_fits_its_schema_and_another_does_not(schema: Mapping[str, Any]) -> None:
    body = sample.fitting(schema)
    assert body is not None
    jsonschema.validate(json.loads(body), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(sample.misfit(schema)), schema)


def test_a_schema_that_is_more_than_can_be_followed_has_no_body() -> None:
    assert sample.fitting({"anyOf": [{"type": "string"}, {"type": "null"}]}) is None


@pytest.mark.parametrize(
    ("kind", "code", "addresses"),
    [("A", dns.NO_ERROR, ["198.19.0.1"]), ("AAAA", dns.NO_ERROR, []), ("A", dns.NXDOMAIN, [])],
)
def test_a_resolver_of_the_world_answers_as_it_is_told(kind: str, code: Literal[0, 3], addresses: list[str]) -> None:
    asked = dnslib.DNSRecord.question("R1.Provider.Example", kind)
    assert dns.name_of(asked.pack()) == "r1.provider.example"
    told = dnslib.DNSRecord.parse(dns.answer(asked.pack(), ["198.19.0.1"], 2, code))
    assert told.header.rcode == code
    assert [(str(each.rdata), each.ttl) for each in told.rr] == [(address, 2) for address in addresses]
    assert told.header.id == asked.header.id
