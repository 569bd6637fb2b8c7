"""What is made of a host's answer: the rules of the policy in force, and each way in which a host differs from them."""

from __future__ import annotations

import copy
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import compile_policy
from hostguard.controls.egress.names import NEW, OPEN, set_of
from hostguard.host.kinds.ruleset import GATEWAY
from hostguard.host.standing import by_family, table_of
from hostguard.policy.load import load
from hostguard.policy.why import Question, answer
from hostguard.seen import Seen
from hostguard.why_on_host import OnHost, judge

LOADED = load(Path(__file__).parents[2] / "examples" / "gateway.yml")
UIDS = {"envoy": 101, "shop": 102, "dnsmasq": 103, "prometheus": 104, "root": 0}
NAME = "api.provider.com"
TO = "192.0.2.9"
FILLED = {set_of("ipv4", what, NAME): {"type": "hash:ip", "elements": [TO]} for what in (NEW, OPEN)}
LISTENS = "  sl  local rem st\n   0: 5400007F:0054 00000000:0000 0A 0 0 0 101 0 1\n"


def in_force() -> dict[str, Any]:
    """The rules of the policy as iptables-save tells them."""
    said: dict[str, Any] = {}
    rulesets = [r for r in compile_policy(LOADED).resources if r["kind"] == "ruleset"]
    for family, members in by_family(rulesets).items():
        for each in sorted(members, key=lambda r: bool(r["chain"] != GATEWAY)):
            table = said.setdefault(family, {}).setdefault(table_of(each), {"policies": {}, "rules": {}})
            rules = [re.sub(r"\${uid:(\w+)}", lambda m: str(UIDS[m[1]]), rule) for rule in each["rules"]]
            table["rules"][each["chain"]] = rules
            table["rules"].setdefault(each["hook"], []).append(f"-j {each['chain']}")
            table["policies"][each["hook"]] = each["policy"] or "ACCEPT"
    return {"iptables": said, "nft": []}


SETS = [r for r in compile_policy(LOADED).resources if r["kind"] == "ipset"]


def at(address: str, **more: Any) -> dict[str, Any]:
    return {"address": address, "error": "", "device": "eth0", "source": "10.0.0.9", "ours": False, **more}


def said(account: str = "envoy", **way: Any) -> dict[str, Any]:
    of_way = {"uid": UIDS[account], "code": "NOERROR", "unasked": "", "addresses": [at(TO)], "dormant": [],
              "egress": [], **way}  # fmt: skip
    empty = {r["name"]: {"type": r["type"], "elements": [""] * len(of_way["addresses"])} for r in SETS}
    of_way["sets"] = {**empty, **way.get("sets", FILLED)}
    none = {"backend": "legacy", "rules": ""}
    return {"way": of_way, "rules": in_force(), "other": {"ipv4": none, "ipv6": none},
            "listeners": {"tcp": LISTENS, "tcp6": "", "udp": "", "udp6": ""}}  # fmt: skip


def told(evidence: dict[str, Any], account: str | None = "envoy", host: str = NAME, port: int = 443) -> OnHost:
    seen = Seen((), {}, {f"why/{name}": {"said": each} for name, each in evidence.items()})
    return judge(LOADED, Question(account, host, port, "tcp"), "web1", seen)


def test_what_the_policy_lets_out_is_let_out_by_its_rule_and_set() -> None:
    found = told(said())
    (there,) = found.addresses
    assert (found.may, found.agrees(True), there.set, there.element) == (True, True, next(iter(FILLED)), TO)
    assert there.in_sets == tuple(FILLED)
    assert "127.0.0.83 as envoy: 192.0.2.9" in found.lookup


def test_a_name_whose_sets_lost_its_address_is_held() -> None:
    flushed = {name: {**each, "elements": [""]} for name, each in FILLED.items()}
    found = told(said(sets=flushed))
    assert (found.may, found.agrees(True), found.addresses[0].in_sets) == (False, False, ())
    assert "hostguard's rule `filter HOSTGUARD-OUTPUT -j DROP`" in found.addresses[0].words


def test_another_account_is_held_and_both_agree() -> None:
    found = told(said("shop"), "shop")
    assert (found.may, found.agrees(False)) == (False, True)
    assert found.lookup.startswith("127.0.0.83 as envoy")  # who may ask; shop may not


@pytest.mark.parametrize(
    ("way", "may", "says"),
    [
        ({"code": "NXDOMAIN"}, False, "no address there"),
        ({"code": "NOERROR"}, False, "no address there"),
        ({"code": "silent"}, None, "could not be seen"),
        ({"code": "ECONNREFUSED"}, None, "could not be seen"),
        ({"code": "", "unasked": "only root can ask as envoy"}, None, "could not be seen"),
    ],
)
def test_a_name_without_an_answer(way: dict[str, Any], may: bool | None, says: str) -> None:
    found = told(said(**way, addresses=[]))
    assert (found.may, says in found.words[-1]) == (may, True)
    assert (way["code"] or "only root") in found.lookup or way["code"] == "NOERROR"


def test_an_address_without_a_route_stops_nobody_while_another_has_one() -> None:
    both = {name: {**each, "elements": [TO, ""]} for name, each in FILLED.items()}
    without = at("2001:db8::9", error="ENETUNREACH")
    assert told(said(addresses=[at(TO), without], sets=both)).may is True
    alone = told(said(addresses=[{**without, "address": TO}]))
    assert (alone.may, "no route there (ENETUNREACH)" in alone.addresses[0].words) == (False, True)


def test_one_address_of_several_that_is_held_is_told() -> None:
    one = {name: {**each, "elements": [TO, ""]} for name, each in FILLED.items()}
    found = told(said(addresses=[at(TO), at("192.0.2.10")], sets=one))
    assert (found.may, [each.may for each in found.addresses]) == (False, [True, False])


def test_a_table_that_is_switched_off_holds_nothing() -> None:
    found = told(said("shop", dormant=["ip filter"]), "shop")
    assert (found.may, found.agrees(False)) == (True, False)


def test_what_is_not_walked_makes_nothing_certain() -> None:
    for changed in (said(egress=["others out"]), {**said(), "other": {"ipv4": {"backend": "legacy", "rules": None}}}):
        found = told(changed)
        assert (found.may, found.agrees(True)) == (None, None)
        assert "can't tell" in found.addresses[0].words
    # What our own rules hold is held, whatever comes behind them.
    assert told(said("shop", egress=["others out"]), "shop").may is False


def test_rules_that_are_gone_are_told() -> None:
    evidence = said("shop")
    evidence["rules"] = {"iptables": {"ipv4": {}, "ipv6": {}}, "nft": []}
    found = told(evidence, "shop")
    assert (found.may, found.agrees(False)) == (True, False)
    assert "none of hostguard's chains is in force" in found.words[0]


def test_the_gateway_s_door_has_a_listener_or_not() -> None:
    door = {"addresses": [at("127.0.0.84", ours=True, device="lo", source="127.0.0.84")], "sets": {}, "code": ""}
    found = told(said("shop", **door), "shop", "127.0.0.84", 84)
    assert (found.may, found.addresses[0].listens) == (True, True)
    assert "HOSTGUARD-GATEWAY" in found.addresses[0].rule
    empty = {**said("shop", **door), "listeners": {"tcp": "", "tcp6": "", "udp": "", "udp6": ""}}
    found = told(empty, "shop", "127.0.0.84", 84)
    assert (found.may, found.let, found.agrees(True)) == (False, True, False)
    assert told({**empty, "way": said("root", **door)["way"]}, "root", "127.0.0.84", 84).agrees(False) is True


def test_a_door_without_rules_is_open_though_nobody_listens_yet() -> None:
    door = {"addresses": [at("127.0.0.84", ours=True, device="lo", source="127.0.0.84")], "sets": {}, "code": ""}
    evidence = {**said("root", **door), "listeners": {"tcp": "", "tcp6": "", "udp": "", "udp6": ""}}
    evidence["rules"] = {"iptables": {"ipv4": {}, "ipv6": {}}, "nft": []}
    found = told(evidence, "root", "127.0.0.84", 84)
    assert (found.may, found.agrees(False)) == (False, False)


def test_an_account_that_is_not_named_is_none_that_a_rule_names() -> None:
    evidence = said("root", uid=None)
    evidence["rules"]["iptables"]["ipv4"]["filter"]["rules"]["OUTPUT"].insert(0, "-m owner --uid-owner 0 -j ACCEPT")
    assert told(evidence, None).may is False
    evidence["way"]["uid"] = UIDS["root"]
    assert told(evidence, "root").may is True


def test_what_a_host_can_not_read_or_says_oddly_is_not_seen() -> None:
    question = Question("envoy", NAME, 443, "tcp")
    assert judge(LOADED, question, "web1", "no route to host").may is None
    found = judge(LOADED, question, "web1", Seen((), {}, {"why/way": {"unreadable": "`ipset save` needs root"}}))
    assert (found.may, found.words) == (None, ("`ipset save` needs root",))
    for odd in ([{**at(TO), "address": "x"}], [at(TO), at("192.0.2.10")]):
        found = told(said(addresses=odd))
        assert (found.may, found.words[0].startswith("its answer can't be judged")) == (None, True)
    assert told(said(uid=None)).words == ("it has no account envoy",)


def test_under_observe_all_is_let_out() -> None:
    loaded = copy.copy(LOADED)
    assert loaded.policy.egress is not None
    egress = loaded.policy.egress.model_copy(update={"mode": "observe"})
    loaded = replace(loaded, policy=loaded.policy.model_copy(update={"egress": egress}))
    question = Question("shop", "198.51.100.1", 443, "tcp")
    evidence = said("shop", addresses=[at("198.51.100.1")], sets={}, code="")
    evidence["rules"]["iptables"]["ipv4"]["filter"] = {
        "policies": {"OUTPUT": "ACCEPT"},
        "rules": {"OUTPUT": ["-j HOSTGUARD-OBSERVE-OUTPUT"], "HOSTGUARD-OBSERVE-OUTPUT": ["-j LOG"]},
    }
    seen = Seen((), {}, {f"why/{name}": {"said": each} for name, each in evidence.items()})
    found = judge(loaded, question, "web1", seen)
    assert (found.may, answer(loaded.policy, question).may, found.words) == (True, True, ())
