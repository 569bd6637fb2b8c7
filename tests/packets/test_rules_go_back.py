"""The rules' way back, on the real kernel in a network namespace of the test's own: whatever other tools did since."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.lab.process import call

pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.alone]

PRELUDE = """
import json, subprocess, sys
from hostguard.host.kinds import ipset, ruleset
def sh(text):
    return subprocess.run(text, shell=True, check=True, capture_output=True, text=True).stdout
def rules(family, hook, chain, lines, policy=None, first=True):
    return {"id": family + chain, "kind": "ruleset", "family": family, "hook": hook, "chain": chain, "policy": policy,
            "rules": lines, "first": first}
"""


def alone(script: str) -> Any:
    """What a script says, as JSON, of a namespace that is gone afterwards. As root of it, whoever runs the tests."""
    fence = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--"]
    done = call([*fence, sys.executable, "-c", PRELUDE + script], check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_jump_goes_back_to_the_end_where_the_rules_before_it_are_gone() -> None:
    said = alone("""
sh("for port in 1 2 3; do iptables -A INPUT -p tcp --dport $port -j DROP; done")
sh("iptables -N HG; iptables -A INPUT -j HG")
ours = [rules(family, "INPUT", "HG", ["-j ACCEPT"], first=False) for family in ("ipv4", "ipv6")]
before = ruleset.capture(ours)
ruleset.write(ours, ruleset.read(ours))
sh("iptables -D INPUT -p tcp --dport 1 -j DROP; iptables -D INPUT -p tcp --dport 2 -j DROP")
ruleset.restore(ours, before)
print(json.dumps([sh("iptables-save -t filter"), sh("ip6tables-save -t filter")]))
""")
    assert "-A INPUT -p tcp -m tcp --dport 3 -j DROP\n-A INPUT -j HG\n" in said[0]
    assert "HG" not in said[1]


def test_a_family_that_can_not_go_back_keeps_not_the_other() -> None:
    said = alone("""
ours = [rules(family, "OUTPUT", "HG", ["-j DROP"], policy="DROP") for family in ("ipv4", "ipv6")]
before = ruleset.capture(ours)
ruleset.write(ours, ruleset.read(ours))
before["ipv4HG"]["rules"] = ["-m set --match-set not-there dst -j ACCEPT"]
try:
    ruleset.restore(ours, before)
    error = ""
except Exception as failed:
    error = str(failed)
print(json.dumps([error, sh("ip6tables-save")]))
""")
    assert "not-there" in said[0]
    assert "DROP" not in said[1]


def test_a_chain_that_others_lead_to_is_left_empty() -> None:
    said = alone("""
ours = [rules("ipv4", "OUTPUT", "HG", ["-j DROP"])]
before = ruleset.capture(ours)
ruleset.write(ours, ruleset.read(ours))
sh("iptables -A FORWARD -p udp -j HG")
ruleset.restore(ours, before)
print(json.dumps(sh("iptables-save -t filter")))
""")
    assert "-A HG" not in said
    assert "-A OUTPUT" not in said
    assert "-A FORWARD -p udp -j HG" in said


def test_a_set_that_was_left_half_swapped_is_in_nobody_s_way() -> None:
    said = alone("""
sh("ipset create hostguard-swap hash:ip family inet6")
wanted = [{"id": "s", "kind": "ipset", "name": "hostguard-4-x", "type": "hash:net,port", "family": "ipv4",
           "entries": ["10.0.0.1/32,tcp:443"]}]
ipset.write(wanted, ipset.read(wanted))
ipset.write(wanted, ipset.read(wanted))
print(json.dumps(sh("ipset save")))
""")
    assert "hostguard-swap" not in said
    assert "add hostguard-4-x 10.0.0.1,tcp:443" in said
