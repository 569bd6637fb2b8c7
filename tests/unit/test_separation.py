"""The rules of the gateway's ports, as text: what they say, and what they must never say."""

from __future__ import annotations

from dataclasses import replace

from hostguard.controls.egress import boot, chains
from hostguard.host import iptables
from hostguard.host.kinds.ruleset import GATEWAY as CHAIN
from hostguard.policy.model import Egress
from tests.unit.a_gateway import GATEWAY, UPSTREAM

EGRESS = Egress(proxy_user="envoy")
OUTPUT, INPUT = chains.gateway(GATEWAY)


def test_a_gateway_by_sockets_alone_needs_no_rules() -> None:
    assert chains.gateway(replace(GATEWAY, upstreams=(replace(UPSTREAM, listen=None),))) == []


def test_each_user_of_each_port_and_of_the_metrics_has_a_rule() -> None:
    more = replace(UPSTREAM, name="b", users=("mail", "shop"), listen=85)
    two = replace(GATEWAY, upstreams=(UPSTREAM, more), metrics_listen=90, metrics_users=("prometheus",))
    rules = chains.gateway(two)[0]["rules"]
    named = [rule for rule in rules if "--uid-owner" in rule]
    assert named == [
        f"-p tcp -m tcp --dport {port} -m owner --uid-owner ${{uid:{user}}} -j RETURN"
        for port, user in ((84, "shop"), (85, "mail"), (85, "shop"), (90, "prometheus"))
    ]


def test_it_lets_nobody_past_the_chain_that_comes_after_it() -> None:
    """Else it could not stand before the one that lets out."""
    assert not iptables.lets_past(f"-j {CHAIN}", {CHAIN: OUTPUT["rules"]}, "DROP")
    assert OUTPUT["rules"][-1].startswith("-j REJECT")
    assert not any("ACCEPT" in rule for rule in OUTPUT["rules"] + INPUT["rules"])


def test_a_boot_loads_it_before_the_one_that_lets_out() -> None:
    with_it, without = ({r["id"]: r for r in boot.boot(EGRESS, each)} for each in (GATEWAY, None))
    rules = "file:/etc/hostguard/egress/ipv4.rules"
    jumps = [line for line in with_it[rules]["content"].splitlines() if line.startswith("-I OUTPUT")]
    assert jumps == ["-I OUTPUT 1 -j HOSTGUARD-OUTPUT", f"-I OUTPUT 1 -j {CHAIN}"], "the last is the first then"
    changed = {name for name in with_it if with_it[name] != without[name]}
    assert changed == {rules}
