"""What becomes of one new connection: each rule that decides is named, and what can't be evaluated is no guess."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from hostguard.controls.egress.fate import fate
from hostguard.controls.egress.foreign import OF_A_CLIENT, Packet, chains_of
from hostguard.host.evidence.way_out import element

OURS = ["-o lo -m addrtype --dst-type LOCAL -j ACCEPT",
        "-m conntrack --ctstate ESTABLISHED --ctdir REPLY -m set --match-set in dst,src -j ACCEPT",
        "-p tcp -m set --match-set in dst,src -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
        "-m owner --uid-owner 7 -m set --match-set seven dst,dst -j ACCEPT",
        "-p tcp -m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL -m owner ! --socket-exists -j ACCEPT",
        "-m set --match-set any dst,dst -j ACCEPT",
        "-m limit --limit 10/min -j LOG", "-j DROP"]  # fmt: skip
PACKET = Packet(
    "ipv4", "tcp", leaves=True, source=ipaddress.ip_network("10.0.0.1"), destination=ipaddress.ip_network("192.0.2.7"),
    from_port=OF_A_CLIENT, to_port=(443, 443), uid=(7, 7), direction="ORIGINAL", flags=frozenset({"SYN"}), socket=True,
    sets={"seven dst,dst": True, "any dst,dst": False, "in dst,dst": True},
)  # fmt: skip


def told(
    before: list[str] | None = None, behind: list[str] | None = None, *, packet: Packet = PACKET, device: str = "eth0",
    ours: list[str] = OURS, policy: str = "DROP", **tables: dict[str, list[str]],
) -> tuple[bool | None, str]:  # fmt: skip
    """Whether it may, and the rule that decides or that is not known; `before` and `behind` our jump are others'."""
    found: dict[str, Any] = {table: {"policies": {}, "rules": rules} for table, rules in tables.items()}
    chains = {"OUTPUT": [*(before or []), "-j HOSTGUARD-OUTPUT", *(behind or [])], "HOSTGUARD-OUTPUT": ours}
    of_filter = found.setdefault("filter", {"policies": {}, "rules": {}})
    of_filter["policies"]["OUTPUT"] = policy
    of_filter["rules"] = {**of_filter["rules"], **chains}
    said = fate(chains_of("ipv4", {"iptables": {"ipv4": found, "ipv6": None}, "nft": []}), packet, device)
    rule = (said.unsure[0] if said.unsure else said.by) if said.may is None else said.by
    return said.may, rule.text.strip("`") if rule else ""


def of(**changes: Any) -> Packet:
    from dataclasses import replace

    return replace(PACKET, **changes)


ACCEPTED = "filter HOSTGUARD-OUTPUT -m owner --uid-owner 7 -m set --match-set seven dst,dst -j ACCEPT"
DROPPED = "filter HOSTGUARD-OUTPUT -j DROP"


def test_our_own_rules_are_evaluated_whole() -> None:
    assert told() == (True, ACCEPTED)
    assert told(packet=of(uid=(8, 8))) == (False, DROPPED)
    assert told(packet=of(sets={"seven dst,dst": False, "any dst,dst": False})) == (False, DROPPED)
    assert told(packet=of(to_us=True), device="lo") == (True, f"filter HOSTGUARD-OUTPUT {OURS[0]}")


def test_a_set_that_nobody_told_of_is_not_guessed() -> None:
    assert told(packet=of(sets={"any dst,dst": False})) == (None, ACCEPTED)
    # Whatever it holds: what comes behind lets it out too.
    assert told(packet=of(sets={"any dst,dst": True}))[0] is True


@pytest.mark.parametrize("what", ["-m mark --mark 0x7", "-m limit --limit 1/sec", "-m cgroup --path a", "-m string x"])
def test_what_is_not_evaluated_is_named_where_it_decides(what: str) -> None:
    assert told([f"{what} -j DROP"]) == (None, f"filter OUTPUT {what} -j DROP")
    assert told([f"{what} -j ACCEPT"]) == (True, f"filter OUTPUT {what} -j ACCEPT") or told([f"{what} -j ACCEPT"])[0]
    assert told([f"{what} -j ACCEPT"], packet=of(uid=(8, 8)))[0] is None
    assert told([f"{what} -j DROP"], packet=of(uid=(8, 8))) == (False, DROPPED)
    assert told([f"-p udp {what} -j DROP"]) == (True, ACCEPTED)
    assert told([f"{what} -j LOG"]) == (True, ACCEPTED)


def test_a_chain_of_others_is_walked_before_ours_and_none_behind_an_end() -> None:
    chain = {"filter": {"THEIRS": ["-p udp -j RETURN", "-d 192.0.2.0/24 -j REJECT"]}}
    assert told(["-p tcp -j THEIRS"], **chain) == (False, "filter THEIRS -d 192.0.2.0/24 -j REJECT")
    assert told(["-p udp -j THEIRS"], **chain) == (True, ACCEPTED)
    assert told(behind=["-j DROP"]) == (True, ACCEPTED)
    assert told(["-m mark --mark 0x7 -j THEIRS"], **chain)[0] is None


def test_goto_does_not_come_back_to_the_next_rule() -> None:
    chain = {"filter": {"THEIRS": ["-p udp -j DROP"]}}
    assert told(["-g THEIRS"], **chain) == (False, "the policy of `filter OUTPUT")
    assert told(["-g THEIRS"], policy="ACCEPT", **chain)[0] is True
    assert told(["-m mark --mark 0x7 -g THEIRS"], **chain)[0] is None


def test_a_drop_policy_of_others_stops_what_no_rule_lets_out() -> None:
    assert told(ours=["-p udp -j ACCEPT", "-j RETURN"]) == (False, "the policy of `filter OUTPUT")
    assert told(ours=["-j RETURN"], policy="ACCEPT") == (True, "")


def test_what_is_sent_elsewhere_is_not_told_to_arrive() -> None:
    nat = {"nat": {"OUTPUT": ["-p tcp -m tcp --dport 443 -j REDIRECT --to-ports 15001"]}}
    assert told(**nat) == (None, "nat OUTPUT -p tcp -m tcp --dport 443 -j REDIRECT --to-ports 15001")
    maybe = {"nat": {"OUTPUT": ["-m mark --mark 0x7 -j REDIRECT"]}}
    assert told(packet=of(uid=(8, 8)), **maybe)[0] is None


def test_what_is_not_tracked_is_not_new() -> None:
    ours = ["-m conntrack --ctstate NEW -j ACCEPT", "-j DROP"]
    assert told(ours=ours)[0] is True
    assert told(ours=ours, raw={"OUTPUT": ["-p tcp -j CT --notrack"]}) == (False, DROPPED)
    assert told(ours=ours, raw={"OUTPUT": ["-m mark --mark 0x7 -j NOTRACK"]})[0] is None


def test_a_target_that_is_no_chain_is_not_guessed() -> None:
    assert told(["-p tcp -j XYZZY"]) == (None, "filter OUTPUT -p tcp -j XYZZY")
    assert told(["-p tcp -j NFQUEUE --queue-num 1"])[0] is None
    assert told(["(a rule of nft's own, which iptables can't show)"])[0] is None


def test_what_stays_on_the_host_comes_in_again_by_the_loopback() -> None:
    local = of(to_us=True)
    said = {"filter": {"INPUT": ["-i eth0 -j ACCEPT", "-i lo -p tcp -m tcp --dport 443 -j DROP"]}}
    rule = "filter INPUT -i lo -p tcp -m tcp --dport 443 -j DROP"
    assert told(packet=local, device="lo", **said) == (False, rule)
    assert told(packet=local, device="lo", mangle={"INPUT": ["! -i lo -j DROP"]})[0] is True
    assert told(["-o lo -j DROP"], packet=local, device="lo") == (False, "filter OUTPUT -o lo -j DROP")
    assert told(["-o eth+ -j DROP"]) == (False, "filter OUTPUT -o eth+ -j DROP")


def test_chains_are_passed_in_the_order_of_their_priority() -> None:
    drop = ["-p tcp -j DROP"]
    assert told(security={"OUTPUT": drop}, mangle={"OUTPUT": drop}) == (False, "mangle OUTPUT -p tcp -j DROP")
    assert told(security={"OUTPUT": drop}) == (False, "security OUTPUT -p tcp -j DROP")


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        (["192.0.2.7,tcp:443"], "192.0.2.7,tcp:443"),
        (["192.0.2.0/24,tcp:443", "192.0.0.0/16,tcp:443"], "192.0.2.0/24,tcp:443"),
        (["0.0.0.0/1,tcp:443", "128.0.0.0/1,tcp:443"], "128.0.0.0/1,tcp:443"),
        (["192.0.2.7,tcp:80", "192.0.2.7,udp:443", "192.0.3.0/24,tcp:443"], ""),
        (["192.0.2.0/24,tcp:443", "192.0.2.7,tcp:443 nomatch"], None),
    ],
)
def test_the_narrowest_element_of_a_set_is_found(entries: list[str], found: str | None) -> None:
    assert element({"type": "hash:net,port", "entries": entries}, "192.0.2.7", "tcp", 443) == found


def test_elements_of_names_have_a_time_and_no_port() -> None:
    timed = {"type": "hash:ip", "entries": ["192.0.2.7 timeout 3000", "2001:db8::7 timeout 1"]}
    assert element(timed, "192.0.2.7", "udp", 1) == "192.0.2.7"
    assert element(timed, "2001:db8::7", "udp", 1) == "2001:db8::7"
    assert element({"type": "list:set", "entries": ["a"]}, "192.0.2.7", "tcp", 1) is None
