"""The gateway's rules: each names its fault, in what a real Envoy told of it, and no other rule does."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from hostguard.diagnose import diagnosis
from hostguard.diagnose.rule import Asked, Finding
from hostguard.diagnose.rules import RULES
from hostguard.policy.load import load
from tests.unit import gateway_recorded as recorded
from tests.unit.diagnosed import diagnosed, findings

OURS = {rule.id: rule for rule in RULES if rule.id.startswith("gateway-")}
POLICY = """
version: 1
capacity: {peak_rps: 100, p99: 800ms}
egress:
  proxy_user: envoy
  resolvers: [10.0.0.2]
  resolver_users: [envoy]
  time_servers: [10.0.0.3]
  providers:
    payments: {hosts: [api.provider.test, eu.provider.test]}
  inbound:
    ssh: {from: [10.77.0.0/24], ports: [22]}
gateway:
  connections_max: 100
  providers:
    payments:
      host: api.provider.test
      users: [shop]
      listen: 84
      credential: {secret: payments}
limits: {}
secrets:
  owner: vault-agent
  group: envoy
  files:
    payments: {new: /run/secrets/payments/new, old: /run/secrets/payments/old}
    card: {certificate: /run/secrets/card/cert, key: /run/secrets/card/key}
"""
CARD = "      client_certificate: card\n"
PROVIDERS = ("gateway", "providers", "payments")
CERTIFICATE = "/run/secrets/card/cert"
GOOD = {"error": "", "all": 0, "first": []}
FILE = {"age": 7200, "size": 20, "in_memory": True, "owner": "vault-agent", "readers": ["envoy"], "more": False}
"""A key's file as it should be."""


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    return policy(tmp_path)


def policy(folder: Path, more: str = "", **changes: Any) -> Asked:
    path = folder / "policy.yml"
    path.write_text(POLICY.replace("      credential", f"{more}      credential"))
    return Asked(load(path), **changes)


def said(name: str, folder: Path, **changes: Any) -> dict[str, Any]:
    """The answer of a host whose gateway stood as recorded, to all that a rule may ask."""
    return {
        "state": recorded.state(name),
        "log": recorded.log(name, folder),
        "files": {"/run/secrets/payments/new": FILE, "/run/secrets/payments/old": FILE},
        "certificates": {CERTIFICATE: GOOD},
        "shown": {"payments": 90},
        "lookups": {"api.provider.test": {"addresses": addresses(name), "error": ""}},
        **changes,
    }


def addresses(name: str) -> list[str]:
    """Those that the proxy itself has."""
    lines = recorded.sections(name)["clusters"].splitlines()
    return sorted({line.split("::")[1].rpartition(":")[0] for line in lines if "::hostname::" in line})


def found(rule: str, asked: Asked, told: dict[str, Any]) -> list[Finding]:
    requests = OURS[rule].asks(asked)
    if isinstance(requests, str):
        return []  # it is left out
    return findings(OURS[rule], asked, {name: told[name] for name in requests})


FAULTS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "answer-of-another-shape": ("gateway-payload", "2 times: /id: no string", (*PROVIDERS, "payload", "schema")),
    "answer-too-long": ("gateway-payload", "longer than 10 MiB, 2 times", (*PROVIDERS, "payload", "response_max")),
    "broken-off": ("gateway-resets", "broke off 3 answers in the middle", (*PROVIDERS, "payload")),
    "closed": ("gateway-resets", "closed the connection under 1 request", (*PROVIDERS, "timeouts", "idle")),
    "closed-and-cut": ("gateway-resets", "1 request more found its address cut", (*PROVIDERS, "timeouts", "idle")),
    "edited-in-place": ("gateway-config", "cds.json is 0", ("gateway", "providers")),
    "fails": ("gateway-cut", "answered 5 requests with 503; 2 requests more", (*PROVIDERS, "fallback")),
    "full": ("gateway-full", "9 connections refused", ("gateway", "connections_max")),
    "hangs": ("gateway-timeouts", "the provider: it was reached, and sent no byte", (*PROVIDERS, "timeouts", "total")),
    "hangs-one-try": ("gateway-timeouts", "sent no byte", (*PROVIDERS, "timeouts", "try")),
    "key-refused": ("gateway-keys", "refused the new key and the old one: 3 requests", (*PROVIDERS, "credential")),
    "key-refused-alone": ("gateway-keys", "refused the key, and there is no old one", (*PROVIDERS, "credential")),
    "limited": ("gateway-rate", "answered 3 requests with 429", (*PROVIDERS, "retry", "wait_max")),
    "limited-short": ("gateway-rate", "Retry-After 1 s", (*PROVIDERS, "load", "peak_rps")),
    "limited-without-a-word": ("gateway-rate", "no Retry-After", (*PROVIDERS, "load", "peak_rps")),
    "no-key": ("gateway-keys", "3 requests found no key", (*PROVIDERS, "credential")),
    "nowhere": ("gateway-names", "the proxy has no address of api.provider.test", (*PROVIDERS, "host")),
    "old-key": ("gateway-keys", "went well with the old key alone", (*PROVIDERS, "credential")),
    "overflow": ("gateway-breaker", "refused at once", (*PROVIDERS, "breaker")),
    "refused": ("gateway-unreachable", "the connection was refused at 127.", (*PROVIDERS, "port")),
    "refused-config": ("gateway-config", "lds.json is x", ("gateway", "providers")),
    "request-too-long": ("gateway-payload", "a request was longer than", (*PROVIDERS, "payload", "request_max")),
    "silent": ("gateway-unreachable", "nobody answered within 0.25 s", (*PROVIDERS, "timeouts", "connect")),
    "silent-handshake": ("gateway-unreachable", "nobody answered within 0.25 s", (*PROVIDERS, "timeouts", "connect")),
    "slow": ("gateway-slow", "to the first byte", (*PROVIDERS, "objective", "p99")),
    "tls-1.1": ("gateway-tls", "it speaks no TLS between 1.2 and 1.3 (alert 70)", ("gateway", "tls", "min")),
    "tls-client-expired-1.2": ("gateway-tls", "alert 45: it has ended", (*PROVIDERS, "client_certificate")),
    "tls-client-unknown-1.2": ("gateway-tls", "alert 48: it does not know who", (*PROVIDERS, "client_certificate")),
    "tls-client-unknown-1.3": ("gateway-tls", "refused our client certificate", (*PROVIDERS, "client_certificate")),
    "tls-expired": ("gateway-tls", "its certificate has ended", (*PROVIDERS, "host")),
    "tls-future": ("gateway-tls", "its certificate is not valid yet", (*PROVIDERS, "host")),
    "tls-none": ("gateway-tls", "it speaks no TLS on port 443", (*PROVIDERS, "port")),
    "tls-self": ("gateway-tls", "no authority of /etc/ssl/certs/ca-certificates.crt signed", ("gateway", "ca")),
    "tls-wants-client-1.2": ("gateway-tls", "or asks for a client's certificate", (*PROVIDERS, "client_certificate")),
    "tls-wants-client-1.3": ("gateway-tls", "it asks for a client's certificate", (*PROVIDERS, "client_certificate")),
    "tls-wrong-ca": ("gateway-tls", "no authority of", ("gateway", "ca")),
    "tls-wrong-name": ("gateway-tls", "its certificate is of another name: another.test", (*PROVIDERS, "host")),
    "trickles": ("gateway-timeouts", "the body: its first byte came after", (*PROVIDERS, "timeouts", "total")),
    "waits-for-a-connection": ("gateway-slow", "300 ms of it to the", (*PROVIDERS, "breaker", "connections")),
}  # fmt: skip
"""By recording: the one rule that names it, words of what it saw, and the policy's key."""
ANSWERED = {"nowhere": {"api.provider.test": {"addresses": ["192.0.2.9"], "error": ""}}}


def test_every_recording_is_a_fault_but_one() -> None:
    assert {*FAULTS, "well"} == set(recorded.NAMES)


def test_what_a_probe_sees_too_is_one_finding(tmp_path: Path, asked: Asked) -> None:
    """That of the rule that saw it from outside, with what the log told of it."""
    (mine,) = found("gateway-tls", asked, said("tls-expired", tmp_path))
    other = dataclasses.replace(mine, seen="the chain", where="a probe", concerns=("payments",))
    elsewhere = dataclasses.replace(other, concerns=("letters",))
    by = {"tls": (), "gateway-tls": OURS["gateway-tls"].told_by}
    both = diagnosis._together([("gateway-tls", mine), ("tls", other)], by)
    assert [(rule, each.seen, each.where) for rule, each in both] == [
        ("tls", f"the chain; {mine.seen}", f"a probe; {mine.where}")
    ]
    apart = [("gateway-tls", mine), ("tls", elsewhere)]
    assert diagnosis._together(apart, by) == apart


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_by_one_rule_and_no_other(tmp_path: Path, name: str) -> None:
    rule, words, key = FAULTS[name]
    asked = policy(tmp_path, CARD if "tls-client" in name else "")
    told = said(name, tmp_path)
    told["lookups"] = ANSWERED.get(name, told["lookups"])
    by_rule = {each: found(each, asked, told) for each in OURS}
    assert {each for each, some in by_rule.items() if some} == {rule}, by_rule
    (first, *_) = by_rule[rule]
    assert words in first.seen
    assert first.key == key
    assert "payments" in (*first.concerns, first.subject)
    for each in (text for one in by_rule[rule] for text in (one.seen, one.where, one.means, one.mend, one.unsure)):
        assert each == " ".join(each.split()), "a text that was cut, or is empty in the middle"
        assert not each.endswith((";", ",", ":", "."))
        assert ", ," not in each
        assert ": ;" not in each


@pytest.mark.parametrize("rule", OURS)
def test_without_a_fault_no_rule_has_a_finding(tmp_path: Path, asked: Asked, rule: str) -> None:
    assert found(rule, asked, said("well", tmp_path)) == []


@pytest.mark.parametrize("rule", OURS)
def test_a_fault_of_before_is_none_of_now(tmp_path: Path, rule: str) -> None:
    """But for what a counter tells, which has no time."""
    asked = policy(tmp_path)
    for name, (of, _, _) in FAULTS.items():
        if of in ("gateway-config", "gateway-full", "gateway-names"):
            continue
        told = said(name, tmp_path, log=recorded.log(name, tmp_path, since=recorded.AGO / 2))
        told["state"] = {**told["state"], "members": recorded.state("well")["members"]}
        assert found(rule, asked, {**told, "lookups": said("well", tmp_path)["lookups"]}) == [], name


@pytest.mark.parametrize("rule", OURS)
def test_another_provider_s_faults_are_not_told_of_one(tmp_path: Path, rule: str) -> None:
    asked = policy(tmp_path, only="payments")
    for name in FAULTS:
        told = said(name, tmp_path, log={**recorded.log(name, tmp_path, provider="other"), "kinds": []})
        told["state"] = {**recorded.state("well"), "clusters": {"other": recorded.state(name)["clusters"]["payments"]}}
        assert found(rule, asked, {**told, "lookups": said("well", tmp_path)["lookups"]}) == [], name


def test_who_asks_about_the_gateway_s_unit_is_told_of_each_provider(tmp_path: Path) -> None:
    asked = policy(tmp_path, only="hostguard-gateway.service")
    assert found("gateway-resets", asked, said("closed", tmp_path))


@pytest.mark.parametrize("rule", OURS)
def test_a_policy_without_a_gateway_leaves_the_rule_out(tmp_path: Path, rule: str) -> None:
    path = tmp_path / "policy.yml"
    path.write_text("version: 1\nlimits: {nofile: 4096}\n")
    assert OURS[rule].asks(Asked(load(path))) == "the policy has no gateway"


def test_a_gateway_that_does_not_run_is_one_finding(tmp_path: Path, asked: Asked) -> None:
    empty = {"own": {}, "clusters": {}, "members": "", "certificates": {}, "versions": {}}
    down = {**recorded.state("well"), **empty, "running": False}
    log = {"there": False, "start": 0.0, "kinds": [], "usual": {}, "more": 0, "odd": 0}
    told = said("well", tmp_path, state=down, log=log)
    by_rule = {each: found(each, asked, told) for each in OURS}
    assert {each for each, some in by_rule.items() if some} == {"gateway-down"}


# Each rule's own words


def test_the_ejection_says_since_when_and_for_how_long(tmp_path: Path, asked: Asked) -> None:
    told = said("fails", tmp_path)
    told["state"]["now"] = max(kind["last"] for kind in told["log"]["kinds"]) + recorded.AGO
    (first,) = found("gateway-cut", asked, told)
    assert "is cut since about 20" in first.seen
    assert f"(for {30 - recorded.AGO} s yet)" in first.seen
    told["state"]["clusters"]["payments"]["outlier_detection.ejections_enforced_total"] = 40
    (first,) = found("gateway-cut", asked, told)
    assert f"(for {300 - recorded.AGO} s yet)" in first.seen, "Envoy cuts for 300 s at most"


def test_an_address_that_is_cut_without_a_line_in_the_log_is_told_with_doubt(tmp_path: Path, asked: Asked) -> None:
    log = recorded.log("well", tmp_path)
    (first,) = found("gateway-cut", asked, said("fails", tmp_path, log=log))
    assert first.unsure
    assert "health_flags failed_outlier_check" in first.where


def test_few_failures_of_many_requests_are_within_the_objective(tmp_path: Path, asked: Asked) -> None:
    told = said("closed", tmp_path, log=recorded.log("fails", tmp_path))
    told["log"]["kinds"] = [kind for kind in told["log"]["kinds"] if kind["flags"] == "-"]
    told["state"]["clusters"]["payments"]["upstream_rq_completed"] = 10_000
    assert found("gateway-cut", asked, told) == []
    told["state"]["clusters"]["payments"]["upstream_rq_completed"] = 400
    assert len(found("gateway-cut", asked, told)) == 1


def test_a_name_that_leads_nowhere_is_no_address_that_is_cut(tmp_path: Path, asked: Asked) -> None:
    told = said("nowhere", tmp_path)
    told["log"]["kinds"] += recorded.log("fails", tmp_path)["kinds"][:1]
    told["state"]["clusters"]["payments"]["upstream_rq_completed"] = 10_000
    assert told["log"]["kinds"][-1]["flags"] == "-"
    assert found("gateway-cut", asked, told) == []


def test_slow_answers_are_told_once_they_are_more_than_one_of_a_hundred(tmp_path: Path, asked: Asked) -> None:
    told = said("slow", tmp_path)
    counted = told["state"]["clusters"]["payments"]
    for total, number in ((4, 1), (399, 1), (401, 0)):
        counted["upstream_rq_completed"] = total
        assert len(found("gateway-slow", asked, told)) == number, total


def test_who_is_slow_is_told_by_the_first_byte(tmp_path: Path, asked: Asked) -> None:
    (provider,) = found("gateway-slow", asked, said("slow", tmp_path))
    ours = found("gateway-slow", asked, said("waits-for-a-connection", tmp_path))
    assert "it is the provider" in provider.means
    assert ["it is this side of it" in each.means for each in ours] == [True]


def test_a_slow_network_and_a_slow_handshake_are_told_apart(tmp_path: Path, asked: Asked) -> None:
    for part, word in (("connect", "the network: a connection alone took 900 ms"), ("handshake", "it took 900 ms")):
        told = said("hangs", tmp_path, log=recorded.log("hangs", tmp_path, **{part: 900}))
        (first,) = found("gateway-timeouts", asked, told)
        assert word in first.seen


def test_what_was_usual_stands_beside_it(tmp_path: Path, asked: Asked) -> None:
    log = {**recorded.log("hangs", tmp_path), "usual": {"payments": {"connect": 3, "ttfb": 40, "ms": 47}}}
    (first,) = found("gateway-timeouts", asked, said("hangs", tmp_path, log=log))
    assert "usual are connect 3 ms, ttfb 40 ms, ms 47 ms" in first.seen


@pytest.mark.parametrize(
    ("wait", "path"), [("4", "peak_rps"), ("5", "wait_max"), ("59", "wait_max"), ("60", "peak_rps")]
)
def test_a_wait_is_raised_where_a_policy_may(tmp_path: Path, asked: Asked, wait: str, path: str) -> None:
    told = said("limited", tmp_path, log=recorded.log("limited", tmp_path, retry_after=wait))
    (first,) = found("gateway-rate", asked, told)
    assert first.key[-1] == path


def test_a_provider_that_ends_its_own_work_is_no_idle_connection(tmp_path: Path, asked: Asked) -> None:
    (idle,) = found("gateway-resets", asked, said("closed", tmp_path))
    told = said("closed", tmp_path, log=recorded.log("closed", tmp_path, ms=3000))
    (busy,) = found("gateway-resets", asked, told)
    assert ("it keeps them for less" in idle.means, "it had worked for some 3000 ms" in busy.means) == (True, True)
    assert idle.unsure


@pytest.mark.parametrize("depth", [1, 2])
def test_a_certificate_above_the_provider_s_own_is_named_as_such(tmp_path: Path, asked: Asked, depth: int) -> None:
    log = recorded.log("tls-expired", tmp_path)
    for kind in log["kinds"]:
        kind["failure"] = kind["failure"].replace("depth_0", f"depth_{depth}")
    (first,) = found("gateway-tls", asked, said("tls-expired", tmp_path, log=log))
    assert f"in the chain (number {depth}) has ended" in first.seen


def test_a_refusal_that_tls_13_hides_is_told_with_doubt(tmp_path: Path, asked: Asked) -> None:
    assert found("gateway-tls", asked, said("tls-wants-client-1.3", tmp_path))[0].unsure
    assert not found("gateway-tls", asked, said("tls-expired", tmp_path))[0].unsure


def test_the_breaker_that_is_full_now_is_named(tmp_path: Path, asked: Asked) -> None:
    told = said("well", tmp_path)
    told["state"]["clusters"]["payments"]["circuit_breakers.default.rq_pending_open"] = 1
    (first,) = found("gateway-breaker", asked, told)
    assert "now full: requests that wait" in first.seen
    assert first.key == (*PROVIDERS, "breaker", "pending")


def test_connections_near_their_limit_are_told_before_one_is_refused(tmp_path: Path, asked: Asked) -> None:
    for active, number in ((79, 0), (80, 1)):
        told = said("well", tmp_path, state=recorded.state("well", {"downstream_cx_active": active}))
        assert len(found("gateway-full", asked, told)) == number


def test_connections_that_were_refused_long_ago_are_told_with_doubt(tmp_path: Path, asked: Asked) -> None:
    for uptime, doubt in ((60, False), (90_000, True)):
        state = recorded.state("full", {"server.uptime": uptime})
        (first,) = found("gateway-full", asked, said("full", tmp_path, state=state))
        assert bool(first.unsure) == doubt


def test_a_heap_that_is_full_is_told(tmp_path: Path, asked: Asked) -> None:
    counters = {"overload.envoy.overload_actions.stop_accepting_requests.active": 1}
    (first,) = found("gateway-full", asked, said("well", tmp_path, state=recorded.state("well", counters)))
    assert first.key == ("gateway", "heap_max")


@pytest.mark.parametrize(
    ("file", "words"), [(None, "is not there"), ({**FILE, "size": 1}, "is empty"), (FILE, "each file has one by now")]
)
def test_the_key_s_file_is_told_as_it_is(tmp_path: Path, asked: Asked, file: Any, words: str) -> None:
    files = {"/run/secrets/payments/new": file, "/run/secrets/payments/old": FILE}
    (first,) = found("gateway-keys", asked, said("no-key", tmp_path, files=files))
    assert words in first.seen


def test_a_token_that_is_missing_is_its_server_s(tmp_path: Path) -> None:
    path = tmp_path / "oauth.yml"
    oauth2 = "oauth2: {url: 'https://api.provider.test/token', client_id: shop}"
    path.write_text(POLICY.replace("secret: payments}", f"secret: payments, {oauth2}}}"))
    state = recorded.state("no-key")
    state["clusters"]["payments-token"] = {"upstream_rq_completed": 9, "ssl.fail_verify_error": 0}
    (first,) = found("gateway-keys", Asked(load(path)), said("no-key", tmp_path, state=state))
    assert first.seen == "3 requests had no token of api.provider.test"
    assert "cluster.payments-token at the admin's /stats: upstream_rq_completed 9" in first.where
    assert first.key == (*PROVIDERS, "credential", "oauth2")


def with_agent(folder: Path) -> Asked:
    path = folder / "agent.yml"
    agent = """  agent:
    program: /usr/bin/bao
    server: http://127.0.0.1:8200
    auth: {role_id: /etc/hostguard/role-id, secret_id: /etc/hostguard/secret-id}
    secrets:
      payments: {path: secret/data/payments}
"""
    path.write_text(POLICY.partition("  files:")[0] + agent)
    return Asked(load(path))


def test_the_agent_s_own_words_say_why_there_is_no_key(tmp_path: Path) -> None:
    asked = with_agent(tmp_path)
    files = dict.fromkeys(OURS["gateway-keys"].asks(asked)["files"]["paths"])  # type: ignore[index]
    words = {"permission denied": [7, 100.0], "invalid role or secret ID": [3, 160.0], "of nobody": [1, 200.0]}
    (first,) = found("gateway-keys", asked, said("no-key", tmp_path, files=files, words=words))
    assert first.mend == (
        "the agent never fetched it since this boot: it can't log in: its role ID or secret ID is not valid (any more) "
        "(3 times, last at 1970-01-01T00:02:40Z), it may not read the secret, or its login was revoked (7 times, last "
        "at 1970-01-01T00:01:40Z)"
    )
    assert first.key == ("secrets", "agent", "secrets", "payments")
    (first,) = found("gateway-keys", asked, said("no-key", tmp_path, files=files, words={}))
    assert "`journalctl --unit=hostguard-agent.service`" in first.mend


def test_a_failure_that_ended_with_the_old_key_is_no_refused_new_one(tmp_path: Path, asked: Asked) -> None:
    """A second try goes with the old key, whatever the first one failed for."""
    told = said("old-key", tmp_path)
    del told["state"]["clusters"]["payments"]["retry.upstream_rq_401"]
    assert found("gateway-keys", asked, told) == []


@pytest.mark.parametrize(("days", "number"), [(0, 1), (29, 1), (30, 0), (-3, 0)])
def test_without_a_probe_a_provider_s_certificate_is_told_while_it_lasts(
    tmp_path: Path, asked: Asked, days: int, number: int
) -> None:
    """One that has ended is another rule's: its handshakes fail."""
    told = said("well", tmp_path, shown={"payments": days})
    assert len(found("gateway-certificates", dataclasses.replace(asked, probes=False), told)) == number
    assert found("gateway-certificates", asked, told) == [], "with a probe another rule sees it"


OURS_IN_USE = {"certificates": [{"cert_chain": [{"path": "<inline>", "days_until_expiration": "12"}]}]}


@pytest.mark.parametrize(("days", "number"), [(90, 1), (12, 0), (None, 0)])
def test_a_client_certificate_that_the_proxy_did_not_read_anew_is_told(
    tmp_path: Path, days: int | None, number: int
) -> None:
    """Where the file itself ends it is another rule's."""
    file = None if days is None else {"error": "", "all": 1, "first": [{"days": days}]}
    state = recorded.state("well", certificates=OURS_IN_USE)
    told = said("well", tmp_path, state=state, certificates={CERTIFICATE: _file(file)})
    some = found("gateway-certificates", policy(tmp_path, CARD), told)
    assert len(some) == number
    if some:
        date = time.strftime("%Y-%m-%d", time.gmtime(state["now"] + 12 * 86400))
        assert some[0].seen.startswith(f"the client certificate card that it has ends in 12 days, on {date}, and")
        assert some[0].key == (*PROVIDERS, "client_certificate")


def _file(said_of_it: dict[str, Any] | None) -> Any:
    whole = {"subject": "s", "issuer": "i", "names": [], "begins": 0, "ends": 0, "own": False}
    return said_of_it and {**said_of_it, "first": [{**whole, **each} for each in said_of_it["first"]]}


def test_an_address_that_is_another_s_by_now_is_told(tmp_path: Path, asked: Asked) -> None:
    moved = {"api.provider.test": {"addresses": ["192.0.2.9"], "error": ""}}
    (first,) = found("gateway-names", asked, said("well", tmp_path, lookups=moved))
    assert "and it is at 192.0.2.9" in first.seen
    assert first.unsure, "the answer's time may not be over"


def test_a_name_that_nobody_knows_is_not_the_gateway_s_fault(tmp_path: Path, asked: Asked) -> None:
    gone = {"api.provider.test": {"addresses": [], "error": "no address"}}
    assert found("gateway-names", asked, said("well", tmp_path, lookups=gone)) == []


def test_without_a_probe_a_name_that_leads_nowhere_is_told_by_the_proxy_alone(tmp_path: Path, asked: Asked) -> None:
    quiet = dataclasses.replace(asked, probes=False)
    (first,) = found("gateway-names", quiet, said("nowhere", tmp_path))
    assert "the proxy has no address of api.provider.test" in first.seen
    assert found("gateway-names", quiet, said("well", tmp_path)) == []


@pytest.mark.parametrize(("change", "words"), [({"there": False}, "is not there"), ({"more": 7}, "7 requests of more")])
def test_what_of_the_log_was_not_seen_is_said(tmp_path: Path, asked: Asked, change: Any, words: str) -> None:
    told = said("well", tmp_path, log={**recorded.log("well", tmp_path), **change})
    rule = OURS["gateway-resets"]
    host = diagnosed(rule, asked, {name: told[name] for name in rule.asks(asked)})
    assert words in host.unread[0][1]


# What a host may say of it


@pytest.mark.parametrize("rule", OURS)
@pytest.mark.parametrize("odd", [None, 7, [], "x", {}, {"running": 1}, {"running": True, "kinds": {}}])
def test_an_answer_that_makes_no_sense_is_unread(tmp_path: Path, rule: str, odd: Any) -> None:
    asked = policy(tmp_path, CARD)
    requests = OURS[rule].asks(asked)
    assert not isinstance(requests, str)
    host = diagnosed(OURS[rule], asked, dict.fromkeys(requests, odd))
    assert host.findings == ()
    assert host.unread


HOSTILE = ("\x1b[2J", "::error::x", "%s {0} {}", "a" * 300, "\ud800", "-", "")


@pytest.mark.parametrize("word", HOSTILE)
@pytest.mark.parametrize("name", ["tls-wrong-name", "refused", "fails", "closed"])
def test_a_provider_s_words_are_told_and_obeyed_by_nobody(tmp_path: Path, asked: Asked, name: str, word: str) -> None:
    log = recorded.log(name, tmp_path)
    for kind in log["kinds"]:
        for field in ("host", "to", "failure", "tls", "cert_issuer"):
            kind[field] += word
    told = said(name, tmp_path, log=log)
    assert [each for each in OURS if found(each, asked, told)]


@pytest.mark.parametrize("members", ["", "\x00", "payments::x", "payments::1.2.3.4:443::health_flags::\x1b[2J"])
def test_addresses_that_are_none_do_no_harm(tmp_path: Path, asked: Asked, members: str) -> None:
    told = said("fails", tmp_path, state=recorded.state("fails", members=members))
    assert found("gateway-cut", asked, told)
