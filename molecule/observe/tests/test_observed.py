"""A host that only observes, asked with its own tools: none of hostguard's code is used here."""

from __future__ import annotations

import os

import pytest
from testinfra.host import Host

testinfra_hosts = [os.environ["HOSTGUARD_HOST"]]
TOOLS = {4: "iptables", 6: "ip6tables"}
ENEMIES = {4: "198.51.100.66", 6: "2001:db8:bad::66"}


def test_everything_gets_out(host: Host) -> None:
    """Nobody listens there: to be refused is to have been there and back."""
    for account in ("envoy", "root"):
        for address in ("203.0.113.5", "2001:db8::5", *ENEMIES.values()):
            assert "refused" in host.run(f"runuser -u {account} -- nc -vzw2 {address} 443").stderr


@pytest.mark.parametrize("version", [4, 6])
def test_nothing_is_dropped(host: Host, version: int) -> None:
    assert host.iptables.rules("filter", "OUTPUT", version=version)[0] == "-P OUTPUT ACCEPT"
    rules = [rule for table in ("filter", "mangle")
             for rule in host.check_output(f"{TOOLS[version]} -t {table} -S").splitlines()]  # fmt: skip
    assert "-A FORWARD -j HOSTGUARD-OBSERVE-FORWARD" in rules
    assert not [rule for rule in rules if "HOSTGUARD" in rule and rule.endswith(("-j DROP", "-j REJECT"))]


@pytest.mark.parametrize("version", [4, 6])
def test_what_would_be_dropped_is_logged(host: Host, version: int) -> None:
    """By the rule's own counter: the kernel's log is the machine's, and does not hear of other namespaces."""
    host.run(f"nc -zw2 {ENEMIES[version]} 443")
    rules = host.check_output(f"{TOOLS[version]} -nvxL HOSTGUARD-OBSERVE-OUTPUT").splitlines()
    (packets,) = [int(rule.split()[0]) for rule in rules if "hostguard observe: " in rule and " LOG " in rule]
    assert packets


def test_the_rest_is_hardened(host: Host) -> None:
    assert host.sysctl("net.ipv4.tcp_tw_reuse") == 1
    assert host.mount_point("/run/secrets").exists
