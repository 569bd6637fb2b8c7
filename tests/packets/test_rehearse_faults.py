"""A fault rehearsal by the real Envoy: every fault is held by a good policy, and numbers that contradict each other are
seen as rows that are wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import compile_policy
from hostguard.cli.rehearse import accounts
from hostguard.policy.load import load
from hostguard.rehearse.faults import judge, run, stage
from hostguard.rehearse.faults.cases import FAULTS
from hostguard.rehearse.faults.clones import cloned
from hostguard.rehearse.faults.result import Fault
from tests.packets.test_rehearse import rules_of
from tests.patience import slowness
from tests.programs import ENVOY

TWO, EXAMPLE = Path(__file__).parent / "faults.yml", Path(__file__).parents[2] / "examples" / "gateway.yml"
LOOKS = 3
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
ALONE = "" if os.geteuid() == 0 else "stranger"
"""Where there is one account alone, nobody else can ask."""
pytestmark = [pytest.mark.needs("namespaces", "dnsmasq"), pytest.mark.alone]


def rehearsed(path: Path, *words: str, program: str | None = ENVOY) -> tuple[int, Any]:
    asked = [*words, *(["--program", program] if program else [])]
    command = [sys.executable, "-m", "hostguard", "rehearse", "--faults", "-p", str(path), "--format", "json", *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": PATH})
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def verdicts(told: Any, provider: str) -> dict[str, str]:
    return {fault["id"]: fault["verdict"] for fault in told["faults"] if fault["provider"] == provider}


def at_last(told: Any) -> dict[str, str]:
    """What does not hold, looked at again: a machine that others keep busy is late, and on it a new Envoy takes a
    request before it knows where to."""
    for _ in range(LOOKS):
        bad = {fault["id"]: fault["actual"] for fault in told["faults"] if fault["verdict"] != "held"}
        if not bad.keys() - {ALONE}:
            break
        _, told = rehearsed(TWO, "--fast", *(word for id in bad for word in ("--only", id)))
    return bad


def changed(folder: Path, *changes: tuple[str, str], of: Path = TWO) -> Path:
    """A policy, that of two providers for one, with other words in it."""
    text = of.read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path = folder / "policy.yml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.needs("envoy")
def test_every_fault_of_two_providers_is_held_at_once() -> None:
    _, told = rehearsed(TWO, "--fast")
    assert told["fast"] is True
    assert verdicts(told, "payments").keys() == FAULTS.keys()
    assert FAULTS.keys() - verdicts(told, "letters").keys() == {
        "503-region", "agent-gone", "handover", "key-early", "key-empty", "key-revoked", "killed", "large-answer",
        "wrong-schema",
    }  # fmt: skip
    assert at_last(told) == ({ALONE: "one account only"} if ALONE else {})


def asked_of(way: Any, *what: str) -> list[tuple[Any, ...]]:
    """Of each request that reached the provider. A connection that came to none was late, on a busy machine."""
    return [tuple(each[name] for name in what) for each in way["reached"] if each["method"]]


@pytest.mark.needs("envoy")
def test_what_is_told_of_a_fault_is_what_was_seen(tmp_path: Path) -> None:
    # A handshake that is late on a busy machine is no further try.
    shutil.copytree(EXAMPLE.parent / "schemas", tmp_path / "schemas")
    policy = changed(tmp_path, ("connect: 250ms", "connect: 2s"), of=EXAMPLE)
    _, told = rehearsed(policy, "--only", "expired", "--only", "503-region", "--only", "429-short", "--only", "hangs")
    rows = {fault["id"]: fault for fault in told["faults"]}
    expired, region, limited, hangs = (rows[id] for id in ("expired", "503-region", "429-short", "hangs"))
    assert asked_of(expired["gateway"], "method") == []
    assert asked_of(expired["article"], "method", "tls") == [("GET", "TLSv1.2")]
    assert [call["status"] for call in expired["article"]["calls"]] == [200]
    assert "expired" in expired["direct"]["calls"][0]["error"]
    sent = asked_of(region["gateway"], "method", "region", "status")
    assert sorted(sent) == [("GET", 1, 503), ("GET", 2, 200), ("POST", 1, 503)]
    (first,), (second,) = asked_of(limited["gateway"], "at")
    assert 1 <= second - first <= 2 * slowness()
    assert (hangs["key"], hangs["value"]) == ("gateway.providers.payments.timeouts.total", "6s")
    line = EXAMPLE.read_text(encoding="utf-8").splitlines()[hangs["line"] - 1]
    assert "total: 6s" in line
    assert hangs["direct"]["calls"][0]["status"] is None
    assert len(asked_of(hangs["gateway"], "method")) == 3


CONTRADICTIONS: list[tuple[list[tuple[str, str]], dict[str, str], list[str]]] = [
    (  # a breaker that never trips, and tries that multiply an outage
        [("retry: {wait_max: 2s,", "outlier: {consecutive_5xx: 900}\n      retry: {tries: 10, wait_max: 2s,")],
        {"503-then-well": "outlier.consecutive_5xx", "503-storm": "retry.tries"},
        [],
    ),
    (  # half of the regions may be cut, and so never the last
        [("retry: {wait_max: 2s,", "outlier: {percent: 50}\n      retry: {wait_max: 2s,")],
        {"503-then-well": "outlier.consecutive_5xx"},
        [],
    ),
    (  # an answer for whoever has given up
        [("total: 3s", "total: 9s")],
        {"hangs": "timeouts.try", "drip": "timeouts.total"},
        ["--caller", "2s"],
    ),
    (  # a try that is shorter than an answer takes, and a wait that is longer than all there is
        [
            ("connect: 250ms, try: 1s, total: 3s", "connect: 250ms, try: 300ms, total: 1s"),
            ("wait_max: 2s", "wait_max: 1s"),
        ],
        {"slow": "timeouts.try", "429-short": "retry.wait_max"},
        [],
    ),
    (  # a second region that no try reaches
        [
            ("retry: {wait_max: 2s,", "retry: {tries: 1, wait_max: 2s,"),
            ('credential: {secret: payments, prefix: "Bearer "}', ""),
        ],
        {"refuses": "retry.tries", "silent": "retry.tries", "503-region": "retry.tries"},
        [],
    ),
]


@pytest.mark.needs("envoy")
@pytest.mark.parametrize(("changes", "wrong", "words"), CONTRADICTIONS)
def test_numbers_that_contradict_each_other_are_rows_that_are_wrong(
    tmp_path: Path, changes: list[tuple[str, str]], wrong: dict[str, str], words: list[str]
) -> None:
    asked = [word for id in (*wrong, "nothing") for word in ("--only", id)]
    policy = changed(tmp_path, *changes)
    for _ in range(LOOKS):  # a row that is wrong proves nothing while the machine is busy
        code, told = rehearsed(policy, "--fast", "--provider", "payments", *asked, *words)
        found = {fault["id"]: fault["key"].removeprefix("gateway.providers.payments.") for fault in told["faults"]
                 if fault["verdict"] == "wrong"}  # fmt: skip
        if found == wrong and verdicts(told, "payments")["nothing"] == "held":
            break
    assert found == wrong
    assert verdicts(told, "payments")["nothing"] == "held"
    assert code == 1


def broken(id: str, change: Callable[[dict[str, Any]], None]) -> Fault:
    """The row of a fault, where what is applied is not what the policy's own compiler wrote."""
    loaded = load(TWO)
    made = cloned(loaded.policy, ["payments"], [FAULTS[id]], fast=True, caller=30.0)
    (act,) = made.acts
    bundle = compile_policy(replace(loaded, policy=act.policy)).bundle()
    change(bundle)
    acts = (stage.Act(bundle, run.behind(act, made.plans, ENVOY), act.clones, act.control),)
    play = stage.Play(acts, made.plans, frozenset(accounts(loaded.policy)), fast=True)
    told = run.rehearse(play, {"path": "", "sha256": ""}, [], lambda _: None, lambda _: None)
    return told["faults"][0]


def guards_no_port(bundle: dict[str, Any]) -> None:
    for _, rules in rules_of(bundle, "HOSTGUARD-GATEWAY"):
        rules.clear()


def verifies_nobody(bundle: dict[str, Any]) -> None:
    (xds,) = (each for each in bundle["resources"] if each["kind"] == "xds")
    tree = json.loads(xds["clusters"])
    for cluster in tree["resources"]:
        config = cluster["transport_socket"]["typed_config"]
        del config["auto_sni_san_validation"]
        del config["common_tls_context"]["validation_context_sds_secret_config"]
    xds["clusters"] = json.dumps(tree)


def tries_everything_again(bundle: dict[str, Any]) -> None:
    (xds,) = (each for each in bundle["resources"] if each["kind"] == "xds")
    xds["listeners"] = xds["listeners"].replace("connect-failure,refused-stream,reset-before-request", "reset,5xx")


@pytest.mark.needs("envoy")
@pytest.mark.parametrize(
    ("id", "change", "words"),
    [
        pytest.param("stranger", guards_no_port, "200, and the provider was reached", marks=pytest.mark.needs("root")),
        ("other-ca", verifies_nobody, "the request was sent, once"),
        ("reset-unsafe", tries_everything_again, "it was sent 4 times"),
    ],
)
def test_a_gateway_that_does_not_do_what_it_says_is_seen(
    id: str, change: Callable[[dict[str, Any]], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "BUSY", math.inf)  # it is wrong however late all else is
    found = broken(id, change)
    assert (found["verdict"], found["actual"]) == ("wrong", words)


@pytest.mark.parametrize(
    ("policy", "words", "code", "said"),
    [
        ("hostguard.yml", (), 2, "no section `gateway`"),
        ("gateway.yml", ("--only", "sloth"), 2, "--only: found 'sloth', expected one of"),
        ("gateway.yml", ("--provider", "letters"), 2, "--provider: found 'letters', expected one of payments"),
        ("gateway.yml", ("--caller", "soon"), 2, "--caller: found 'soon'"),
        ("gateway.yml", ("--only", "key-empty"), 2, "key-empty: payments has no credential"),
    ],
)
def test_a_call_that_makes_no_sense_is_told_in_words(policy: str, words: tuple[str, ...], code: int, said: str) -> None:
    found, told = rehearsed(EXAMPLE.parent / policy, *words)
    assert (found, said in told) == (code, True), told


@pytest.mark.skipif(os.access("/usr/bin/envoy", os.X_OK), reason="an Envoy is installed here")
def test_without_an_envoy_nothing_is_rehearsed_and_nothing_passes() -> None:
    code, told = rehearsed(EXAMPLE, program=None)
    assert (code, "no envoy is here" in told) == (3, True)
