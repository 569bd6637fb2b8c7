"""A gateway's host that is broken or hostile: whatever it says in the place of evidence, nothing of it passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostguard import answer as answers
from hostguard import verdict
from hostguard.bundle import compile_policy
from hostguard.control import JudgingControl
from hostguard.controls.gateway import CONTROLS
from hostguard.host.resource import HostError
from hostguard.policy.load import load
from hostguard.result import Result
from hostguard.seen import Seen
from tests.unit import hostile
from tests.unit.a_dump import dump
from tests.unit.test_gateway_judges import PROCESS, PROGRAM, UID, tables

pytestmark = pytest.mark.alone
KEY = "/run/secrets/payments/new"
WITH_A_KEY = {"secrets": {"group": "envoy", "files": {"payments": {"new": KEY}}},
              "gateway": {"providers": {"payments": {"credential": {"secret": "payments"}}}}}  # fmt: skip
EXAMPLE = Path(__file__).parents[2] / "examples" / "gateway.yml"
COMPILED = compile_policy(load(EXAMPLE, [("a key", WITH_A_KEY)]), CONTROLS)
BUNDLE = {**COMPILED.bundle(), "resources": []}
JUDGING = [control for control in CONTROLS if isinstance(control, JudgingControl)]
ENTRY = {"link": False, "leads_out": "", "more": False, "folder": True, "uid": UID, "gid": 7}
RUNNING = (
    "payments::192.0.2.7:443::hostname::api.provider.com\npayments::192.0.2.8:443::hostname::eu.api.provider.com\n"
)


def entry(path: str) -> dict[str, Any]:
    mode = 0o2750 if path.endswith("payments") else 0o600 if path.endswith(".sock") else 0o700
    return {**ENTRY, "path": path, "folder": not path.endswith(".sock"), "mode": mode, "inode": "1:2"}


def said(request: dict[str, Any]) -> Any:
    """The truth, by what is asked."""
    collect = request["collect"]
    if collect == "places":
        return {path: entry(path) for path in request["paths"]}
    if collect == "unix-listeners":
        return {path: ["envoy"] for path in request["paths"]}
    if collect == "envoy":
        told = {"config_dump": dump(), "clusters": RUNNING, "certs": {"certificates": []}}
        return {target: told[target] for target in request["targets"]}
    return {
        "accounts": {"users": {"envoy": UID}, "groups": {"shop": 7}},
        "listeners": {**tables((84, UID), (90, UID)), "udp": None, "udp6": None},
        "text": "1024\n",
        "envoy-program": PROGRAM,
        "envoy-processes": [PROCESS],
        "secret-files": {KEY: {"age": 9, "size": 40, "in_memory": True, "owner": "vault-agent", "more": False,
                               "readers": ["envoy", "vault-agent"]}},
        "envoy-injections": {},
        "authorities": {"all": 1, "days": [900]},
        "certificate-ends": {"payments": 60},
        "lookups": {"api.provider.com": {"addresses": ["192.0.2.7"], "error": ""},
                    "eu.api.provider.com": {"addresses": ["192.0.2.8"], "error": ""}},
    }[collect]  # fmt: skip


TRUE = {
    "resources": [],
    "observations": {},
    "leftovers": [],
    "evidence": {name: {"said": said(request)} for name, request in BUNDLE["evidence"].items()},
}


def judged(answer: Any) -> dict[str, Result]:
    compiled = replace(COMPILED, resources=())
    try:
        found = verdict.judge(compiled, "h", Seen.of(BUNDLE, answers.checked("read", answer)), JUDGING)
    except HostError as error:
        found = verdict.unreached(compiled, "h", str(error), JUDGING)
    return {result.control.id: result for result in found.results}


def test_the_true_answer_passes() -> None:
    assert {name: result.actual for name, result in judged(TRUE).items() if result.status != "pass"} == {}


@pytest.mark.parametrize("name", TRUE["evidence"])
def test_no_evidence_passes_that_is_none(name: str) -> None:
    control = name.partition("/")[0]
    for odd in hostile.ODD:
        for at in (("evidence", name), ("evidence", name, "said")):
            if name.endswith(("/shown", "/failed")) and odd == {}:
                continue  # a provider that nobody asked yet, and a count that is not told
            assert judged(hostile.changed(TRUE, at, odd))[control].status in ("unknown", "fail"), (at, odd)
    assert judged(hostile.without(TRUE, ("evidence", name)))[control].status == "unknown"


def test_an_odd_value_anywhere_is_judged_and_makes_nothing_better() -> None:
    count = 0
    for at in [node for node in hostile.nodes(TRUE) if node[:1] == ("evidence",) and len(node) > 1]:
        for odd in hostile.ODD[::3]:
            count += 1
            for result in judged(hostile.changed(TRUE, at, odd)).values():
                assert result.status in ("pass", "fail", "unknown"), (at, odd)
    assert count > 1000


@pytest.mark.parametrize(
    "at",
    [
        ("gateway.verification", "configs", 1, "dynamic_active_clusters", 0, "cluster", "transport_socket"),
        ("gateway.verification", "configs", 1, "dynamic_active_clusters", 0, "cluster", "name"),
        ("gateway.breaker", "configs", 1, "dynamic_active_clusters", 0, "cluster", "outlier_detection"),
        ("gateway.limits", "configs", 2, "dynamic_listeners"),
        ("gateway.admin", "configs", 0, "bootstrap", "admin"),
    ],
)
def test_what_is_gone_of_a_configuration_is_not_taken_for_well(at: tuple[str | int, ...]) -> None:
    there = ("evidence", f"{at[0]}/envoy", "said", "config_dump", *at[1:])
    assert judged(hostile.without(TRUE, there))[str(at[0])].status in ("unknown", "fail")
