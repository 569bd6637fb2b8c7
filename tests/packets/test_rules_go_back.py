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
from hostguard.host import iptables, nft, standing
from hostguard.host.kinds import ipset, ruleset
from hostguard.host.resource import HostError
from hostguard.host.snapshot import differ, look
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


@pytest.mark.parametrize("fails", ["list table ip filter", "delete table ip filter", "delete chain ip filter OUTPUT"])
def test_an_empty_table_of_ours_is_not_as_before_and_goes_at_the_next_try(fails: str) -> None:
    said = alone(f"""
fails = {fails!r}
ours = [rules("ipv4", "OUTPUT", "HG", ["-j DROP"], policy="DROP")]
before = ruleset.capture(ours)
ruleset.write(ours, ruleset.read(ours))
works, failed, found = nft.run, [], []
def once(argv, *others, **named):
    if fails in " ".join(argv) and not failed:
        failed.append(argv)
        argv = ["false"]
    return works(argv, *others, **named)
standing.run = nft.run = once
for _ in range(2):
    ruleset.restore(ours, before)
    now = ruleset.after(ours)
    found.append([ruleset.as_before(ours[0], before["ipv4HG"], now["ipv4HG"]), sh("nft list ruleset")])
print(json.dumps([len(failed), found]))
""")
    failed, ((first, left), (again, nothing)) = said
    assert failed == 1
    assert "table ip filter" in left
    assert not first
    assert again
    assert nothing == ""


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


# What iptables has no words for: in a chain of its own table, where our rules are.
NATIVE = {
    "as people are told to migrate": "add rule ip filter INPUT ct state established,related accept",
    "first": "insert rule ip filter INPUT ct state established,related accept",
    "one that iptables-save fails at": "insert rule ip filter INPUT meta skuid 0 accept",
    "within our chain": "add rule ip filter HG ct state established accept",
    "another table's": "insert rule ip mangle INPUT meta skuid 0 accept",
    "over IPv6": "insert rule ip6 filter INPUT ct state established accept",
}
OURS = """
ours = [rules(family, "INPUT", "HG", ["-p tcp -m tcp --dport 1 -j ACCEPT", "-j DROP"], policy="DROP")
        for family in ("ipv4", "ipv6")]
ours.append({**rules("ipv4", "INPUT", "HGM", ["-j DROP"], policy="DROP"), "table": "mangle"})
"""


@pytest.mark.parametrize("native", NATIVE.values(), ids=NATIVE)
def test_what_iptables_can_not_show_is_in_the_way_and_no_hindrance_to_the_way_back(native: str) -> None:
    said = alone(
        OURS
        + f"""
sh("iptables -N HG; iptables -t mangle -P INPUT ACCEPT; ip6tables -P INPUT ACCEPT")
untouched = sh("nft -s list ruleset")
before = ruleset.capture(ours)
ruleset.write(ours, ruleset.read(ours))
sh("nft '{native}'")
seen = look(ours)
unread = {{identity for identity, o in seen.items() if o.state == "unreadable"}}
assert not unread & set(ruleset.capture(ours)), "captured what is not seen"
now = ruleset.after(ours)
assert not any(ruleset.as_before(r, before[r["id"]], now[r["id"]]) for r in ours)
ruleset.restore(ours, before)
now = ruleset.after(ours)
assert all(ruleset.as_before(r, before[r["id"]], now[r["id"]]) for r in ours)
print(json.dumps([
    {{identity: [o.state, o.reason] for identity, o in seen.items()}},
    [line.strip() for line in sh("nft -s list ruleset").splitlines() if line.strip() not in untouched],
]))
"""
    )
    of = {"ip filter": "ipv4HG", "ip mangle": "ipv4HGM", "ip6 filter": "ipv6HG"}
    _, _, family, table, chain, rule = native.split(" ", 5)
    states = {identity: state for identity, (state, _) in said[0].items()}
    hidden = of[f"{family} {table}"]
    assert states == {**dict.fromkeys(of.values(), "value"), hidden: "unreadable"}
    for words in (f"nft's chain {family} {table} {chain}", f"`{rule}`", "take it away"):
        assert words in said[0][hidden][1]
    assert said[1] == ([] if chain == "HG" else [rule])


def test_an_earlier_generation_s_rules_come_back_beside_what_iptables_can_not_show() -> None:
    said = alone(
        OURS
        + """
ruleset.write(ours, ruleset.read(ours))
before = ruleset.capture(ours)
later = [{**r, "rules": ["-j DROP"]} for r in ours]
ruleset.write(later, ruleset.read(later))
sh("nft insert rule ip filter INPUT ct state established accept")
ruleset.restore(later, before)
print(json.dumps([sh("nft -s list chain ip filter INPUT"), sh("iptables -S HG")]))
"""
    )
    assert "policy drop;\n\t\tcounter jump HG\n\t\tct state established accept" in said[0]
    assert said[0].count("jump HG") == 1
    assert "-A HG -p tcp -m tcp --dport 1 -j ACCEPT\n-A HG -j DROP\n" in said[1]


def test_without_nft_the_host_is_opened_and_that_is_told() -> None:
    said = alone(
        OURS
        + """
before = ruleset.capture(ours)
ruleset.write(ours, ruleset.read(ours))
sh("nft add rule ip filter INPUT ct state established,related accept")
nft.find = lambda name: None if name == "nft" else "/usr/sbin/" + name
seen = look(ours)["ipv4HG"]
try:
    ruleset.restore(ours, before)
except Exception as failed:
    left = sh("nft list chain ip filter INPUT; nft list chain ip filter HG")
    print(json.dumps([seen.state, seen.reason, str(failed), left]))
"""
    )
    assert said[0] == "unreadable"
    assert "can't show the table filter" in said[1]
    assert "opened unseen" in said[2]
    assert "policy accept" in said[3]
    assert "drop" not in said[3]


def test_a_way_back_to_what_is_there_writes_nothing() -> None:
    """As where another program owns the table, and nobody else may write it."""
    said = alone("""
owner = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
print("add table ip filter { flags owner; }", file=owner.stdin)
print("add chain ip filter OUTPUT { type filter hook output priority 0; }", file=owner.stdin)
owner.stdin.flush()
sh("until nft list tables | grep -q filter; do sleep 0.02; done")
ours = [rules("ipv4", "OUTPUT", "HG", ["-j DROP"], policy="DROP")]
found = differ(ours[0], look(ours)["ipv4HG"])
ruleset.restore(ours, ruleset.capture(ours))
print(json.dumps([each.blocked for each in found if each.blocked]))
owner.kill()
""")
    assert said == ["another program owns nft's table ip filter, and the kernel lets nobody else write it: end that"]


def test_odd_bytes_in_our_chain_go_back_as_they_were() -> None:
    said = alone("""
sh("iptables -N HG; iptables -A OUTPUT -j HG")
def saved():
    return subprocess.run(["iptables", "-S"], capture_output=True).stdout
comment = bytes.fromhex("68e4c3a4")  # Latin-1, then UTF-8
subprocess.run(["iptables", "-A", "HG", "-m", "comment", "--comment", comment, "-j", "ACCEPT"], check=True)
was = saved()
ours = [rules("ipv4", "OUTPUT", "HG", ["-j DROP"], policy="DROP")]
before = json.loads(json.dumps(ruleset.capture(ours)))
words = [each.have for each in differ(ours[0], look(ours)["ipv4HG"])]
ruleset.write(ours, look(ours))
ruleset.restore(ours, before)
print(json.dumps([words, saved() == was, comment in was]))
""")
    assert said[1:] == [True, True]
    assert any("h\\xe4\u00e4" in words for words in said[0])


def test_a_comment_that_looks_like_rules_is_a_comment() -> None:
    said = alone("""
comment = "a\\nCOMMIT\\n*mangle\\n:INPUT DROP [0:0]\\n-A OUTPUT -j HG \\\\ or so"
subprocess.run(["iptables", "-A", "OUTPUT", "-m", "comment", "--comment", comment, "-j", "ACCEPT"], check=True)
sh("iptables -N HG; iptables -A HG -j DROP; iptables -A OUTPUT -j HG; ipset create other hash:ip comment")
subprocess.run(["ipset", "add", "other", "192.0.2.1", "comment", "a\\nadd hostguard-4-x 192.0.2.2"], check=True)
ours = [rules("ipv4", "OUTPUT", "HG", ["-j DROP"])]
sets = [{"id": "s", "kind": "ipset", "name": "hostguard-4-x", "type": "hash:ip", "family": "ipv4", "entries": []}]
seen = {**look(ours), **look(sets)}
print(json.dumps([seen["ipv4HG"], seen["s"], list(iptables.tables("ipv4"))]))
""")
    (state, have, reason), of_set, tables = said
    assert (state, reason, tables) == ("value", "", ["filter"])
    assert (have["jumps"], have["rules"]) == ([2], ["-j DROP"])
    assert "or so" in have["before"]
    assert of_set == ["absent", None, ""]


SWITCH = """
import os
from hostguard.host import program
folder, path = "/mnt", program.PATH
sh("mount -t tmpfs none /mnt")  # nobody else sees it, and nothing of it stays
def switch(to):
    "As update-alternatives does: what the names of iptables' programs lead to."
    for family in ("iptables", "ip6tables"):
        for end in ("", "-save", "-restore"):
            name = os.path.join(folder, family + end)
            if os.path.lexists(name):
                os.unlink(name)
            os.symlink("/usr/sbin/" + family + "-" + to + end, name)
    program.PATH = folder + ":" + path
def both():
    "Without the order of chains, and the empty tables of the legacy backend, which stay until their module goes."
    legacy = "iptables-legacy-save | grep -E '^-A|DROP' || true; ip6tables-legacy-save | grep -E '^-A|DROP' || true"
    return ["\\n".join(sorted(sh("nft -s list ruleset").splitlines())), sh(legacy)]
def as_before(now):
    return all(ruleset.as_before(r, before[r["id"]], now[r["id"]]) for r in ours)
"""
BACKENDS = [("nft", "legacy"), ("legacy", "nft")]
# Whoever is no root outside may not read which legacy tables there are.
OF_BOTH = pytest.mark.needs("legacy tables")


@OF_BOTH
@pytest.mark.parametrize(("written", "later"), BACKENDS)
@pytest.mark.parametrize("base", ["nothing", "an earlier generation"])
def test_rules_go_back_in_the_backend_that_they_were_written_in(written: str, later: str, base: str) -> None:
    said = alone(
        OURS
        + SWITCH
        + f"""
switch({written!r})
if {base!r} != "nothing":
    ruleset.write(ours, ruleset.read(ours))
was, before = both(), json.loads(json.dumps(ruleset.capture(ours)))
ours = [{{**r, "rules": ["-j DROP"]}} for r in ours]
ruleset.write(ours, ruleset.read(ours))
switch({later!r})
applied, unlike = both(), as_before(ruleset.after(ours))
ruleset.restore(ours, before)
print(json.dumps([was == applied, unlike, as_before(ruleset.after(ours)), was, both()]))
"""
    )
    assert said[:3] == [False, False, True]
    assert said[3] == said[4]


@OF_BOTH
@pytest.mark.parametrize(("written", "later"), BACKENDS)
def test_rules_are_wanted_in_the_backend_in_force_alone(written: str, later: str) -> None:
    said = alone(
        OURS
        + SWITCH
        + f"""
switch({written!r})
ruleset.write(ours, ruleset.read(ours))
was = both()
switch({later!r})
before = json.loads(json.dumps(ruleset.capture(ours)))
found = [[d.field, d.have, d.want] for d in differ(ours[0], look(ours)["ipv4HG"])]
ruleset.write(ours, look(ours))
left = [[list(d) for d in differ(r, look([r])[r["id"]])] for r in ours]
moved = both()
switch({written!r})
again = [d.field for d in differ(ours[0], look(ours)["ipv4HG"])]
switch({later!r})
ruleset.restore(ours, before)
print(json.dumps([found, left, moved, again, was == both(), as_before(ruleset.after(ours))]))
"""
    )
    found, left, moved, again, *back = said
    assert ["backend", f"{later} and {written}", f"{later} alone"] in found
    assert left == [[], [], []]
    assert ["HG" in each for each in moved] == [later == "nft", later == "legacy"]
    assert "rules" in again, "what is in the other one alone is absent"
    assert back == [True, True]


@OF_BOTH
def test_after_a_boot_what_goes_back_is_in_the_backend_in_force() -> None:
    said = alone(
        OURS
        + SWITCH
        + """
switch("nft")
ruleset.write(ours, ruleset.read(ours))
before = json.loads(json.dumps(ruleset.capture(ours)))
sh("nft flush ruleset")
switch("legacy")
sh("iptables-legacy -P INPUT DROP")
ruleset.restore(ours, before)
print(json.dumps([both(), as_before(ruleset.after(ours)), [differ(r, look([r])[r["id"]]) for r in ours]]))
"""
    )
    (nft, legacy), whole, unlike = said
    assert nft == ""
    assert "-A HG -j DROP" in legacy
    assert whole
    assert unlike == [[], [], []]


@OF_BOTH
def test_the_rules_of_one_backend_go_back_though_the_programs_of_the_other_are_gone() -> None:
    said = alone(
        OURS
        + SWITCH
        + """
switch("nft")
ruleset.write(ours, ruleset.read(ours))
switch("legacy")
before = json.loads(json.dumps(ruleset.capture(ours)))
ours = [{**r, "rules": ["-j DROP"]} for r in ours]
ruleset.write(ours, look(ours))
cut = both()[1]
find = program.find
program.find = lambda name: None if "nft" in name else find(name)
try:
    ruleset.restore(ours, before)
    error = ""
except HostError as raised:
    error = str(raised)
print(json.dumps([cut, error, both()[1]]))
"""
    )
    assert "-A HG -j DROP" in said[0]
    assert said[1]
    assert "HG" not in said[2]


def test_a_table_that_nobody_shows_is_not_empty() -> None:
    said = alone(
        SWITCH
        + """
switch("nft")
sh("iptables -A OUTPUT -j ACCEPT; nft add rule ip filter OUTPUT ct state established accept")
shown = list(iptables.tables("ipv4"))
with open(folder + "/nft", "w") as file:
    fails = 'case "$*" in *"list table "*) echo no memory >&2; exit 1; esac'
    file.write("#!/bin/sh\\n" + fails + '\\nexec /usr/sbin/nft "$@"\\n')
os.chmod(folder + "/nft", 0o755)
try:
    error = str(iptables.tables("ipv4"))
except HostError as raised:
    error = str(raised)
print(json.dumps([shown, error]))
"""
    )
    assert said == [["filter"], "neither iptables-save nor nft shows the table filter"]


def test_rules_go_back_without_iptables() -> None:
    said = alone(
        OURS
        + SWITCH
        + """
switch("nft")
before = json.loads(json.dumps(ruleset.capture(ours)))
ruleset.write(ours, ruleset.read(ours))
os.symlink("/usr/sbin/nft", folder + "/nft")
for name in os.listdir(folder):
    if name != "nft":
        os.unlink(os.path.join(folder, name))
program.PATH = folder
ruleset.restore(ours, before)
print(json.dumps([program.find("iptables"), sh("nft list ruleset"), as_before(ruleset.after(ours))]))
"""
    )
    assert said == [None, "", True]


def test_a_chain_that_only_has_the_name_is_no_hook() -> None:
    said = alone("""
sh("nft add table ip mangle; nft add chain ip mangle FORWARD")
ours = [rules("ipv4", "FORWARD", "HG", ["-j DROP"]) | {"table": "mangle"}]
print(json.dumps(look(ours)["ipv4HG"]))
""")
    assert (said[0], "nft delete chain ip mangle FORWARD" in said[2]) == ("unreadable", True), said
