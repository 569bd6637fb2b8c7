"""Connection tracking: what a policy wants of it, and what is said where its module is not loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import compile_policy
from hostguard.host import parameters
from hostguard.host.kinds import sysctl
from hostguard.host.resource import value
from hostguard.policy.load import parse

MAX, BUCKETS = "net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_buckets"
ESTABLISHED = "net.netfilter.nf_conntrack_tcp_timeout_established"
EGRESS = "egress: {via: direct, providers: {p: {cidrs: [203.0.113.5/32]}}}\n"
CAPACITY = "capacity: {peak_rps: 2000, p99: 800ms}\n"
FILE = "/etc/modules-load.d/hostguard.conf"


def wanted(text: str) -> dict[str, str]:
    """Path or key, and value, of what has to do with the module."""
    resources = compile_policy(parse(f"version: 1\n{text}".encode(), "p")).resources
    return {r.get("path") or r["key"]: r.get("value", r["control"]) for r in resources if "module" in r}


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        (EGRESS + CAPACITY + "kernel: {}\n", {FILE: "kernel.tracked-connections", MAX: "483200", BUCKETS: "120800"}),
        (EGRESS + CAPACITY, {}),
        (EGRESS + "kernel: {}\n", {}),
        (CAPACITY + "kernel: {}\n", {}),
        (f"kernel: {{{ESTABLISHED}: 7200}}\n", {FILE: "kernel.tracked-connections", ESTABLISHED: "7200"}),
    ],
)
def test_what_a_policy_wants_of_connection_tracking(text: str, asks: dict[str, str]) -> None:
    assert wanted(text) == asks


def parameter(key: str, setting: str, **more: Any) -> dict[str, Any]:
    return {"id": key, "kind": "sysctl", "control": "c", "key": key, "value": setting, "compare": "equal", **more}


def seen(live: str | None, boot: str | None, lacks: str = "") -> Any:
    return value({"live": live, "boot": boot, "boot_from": boot and "z:1", "later": None, "trouble": "",
                  "foreign": False, "lacks": lacks})  # fmt: skip


def test_a_parameter_of_a_module_that_an_apply_loads_is_no_obstacle() -> None:
    own = parameter(ESTABLISHED, "7200", module="nf_conntrack")
    assert [(d.field, d.blocked) for d in sysctl.differ(own, seen(None, None))] == [("live", ""), ("at boot", "")]
    (found,) = sysctl.differ(own, seen(None, "7200", "the module nf_conntrack is the machine's to load"))
    assert found.blocked == "the module nf_conntrack is the machine's to load"


@pytest.mark.parametrize(
    ("key", "loads", "said"),
    [
        ("net.bridge.bridge-nf-call-iptables", False, "comes with the module br_netfilter, which is not loaded"),
        ("net.nowhere.at_all", False, "this kernel has no net.nowhere.at_all, or the module that brings it is not"),
        ("net.ipv4.vs.no_such", False, "this kernel has no net.ipv4.vs.no_such, and the module ip_vs is loaded"),
        (ESTABLISHED, True, "the module nf_conntrack is the machine's to load, not this container's"),
    ],
)
def test_a_parameter_that_is_not_there_is_told_with_its_module(
    key: str, loads: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ip_vs").mkdir()
    monkeypatch.setattr(parameters, "MODULES", str(tmp_path))
    monkeypatch.setattr(parameters, "in_container", lambda: True)
    assert said in parameters.lacks(key, loads)
    (found,) = sysctl.differ(parameter(key, "1"), seen(None, None, parameters.lacks(key, loads)))
    assert said in found.blocked


@pytest.mark.parametrize(("have", "enough"), [("0", True), ("1048576", True), ("262144", False)])
def test_no_limit_is_enough(have: str, enough: bool) -> None:
    resources = compile_policy(parse(f"version: 1\n{EGRESS}{CAPACITY}kernel: {{}}\n".encode(), "p")).resources
    (most,) = (r for r in resources if r.get("key") == MAX)
    assert sysctl.holds(most, have) == enough


def test_what_the_policy_sets_to_no_limit_is_that_and_no_number() -> None:
    text = f"version: 1\n{EGRESS}{CAPACITY}kernel: {{{MAX}: 0}}\n"
    (most,) = (r for r in compile_policy(parse(text.encode(), "p")).resources if r.get("key") == MAX)
    assert (sysctl.holds(most, "0"), sysctl.holds(most, "483200")) == (True, False)


def test_in_a_container_the_table_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "in_container", lambda: True)
    monkeypatch.setattr(parameters, "OF_THE_MACHINE", {"net.of.nobody", MAX})
    monkeypatch.setattr(parameters, "path_of", lambda key: "/proc/version" if key == MAX else "/nowhere")
    assert parameters.of_another(MAX), "it is there, and nobody here may write it"
    assert parameters.of_another("net.of.nobody"), "it may be there once somebody tracks"
    assert not parameters.of_another(ESTABLISHED)
    found = sysctl.read([parameter(MAX, "483200", module="nf_conntrack", compare="min")])[MAX]
    assert found.state == "not_applicable"
    assert "the machine's, not this container's" in found.reason
