"""The rules and routes of other tools, and what they do to a sanctioned way: rules as those tools write them."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from hostguard.bundle import Compiled, compile_policy
from hostguard.control import JudgingControl, Verdict
from hostguard.controls import CATALOGUE
from hostguard.controls.egress import passage
from hostguard.host import evidence
from hostguard.host.facts import account_of
from hostguard.policy.load import parse
from hostguard.policy.model import Policy

POLICY = """version: 1
egress:
  via: proxy
  proxy_user: envoy
  resolvers: [10.0.0.2]
  providers: {payments: {cidrs: [203.0.113.5/32, "2001:db8::5/128"]}}
  inbound: {ssh: {from: [10.77.0.0/24], ports: [22]}}
"""
CONTROL = next(control for control in CATALOGUE if control.id == "egress.passage")
UIDS = {"envoy": 101}


def compiled(text: str = POLICY) -> Compiled:
    return compile_policy(parse(text.encode(), "p"))


def tables(**rules: list[str]) -> dict[str, Any]:
    """Rules in the words of `iptables-save -t TABLE`, by table; `P CHAIN DROP` is a policy."""
    found: dict[str, Any] = {}
    for table, lines in rules.items():
        parsed: dict[str, Any] = {"policies": {}, "rules": {}}
        for line in lines:
            verb, chain, rest = [*line.split(" ", 2), ""][:3]
            if verb == "P":
                parsed["policies"][chain] = rest
            if verb == "A":
                parsed["rules"].setdefault(chain, []).append(rest)
            parsed["rules"].setdefault(chain, [])
        found[table] = parsed
    return found


STUB = "  sl  local_address rem_address st\n 1: 3500007F:0035 00000000:0000 07 0:0 0:0 0 991 0 4242 2 0 0\n"
LISTENERS = {"tcp": "", "tcp6": None, "udp": STUB, "udp6": None}


def judge(
    ipv4: dict[str, Any] | None = None,
    nft: list[Any] | None = None,
    text: str = POLICY,
    routes: list[str] | None = None,
    resolv_conf: str = "nameserver 10.0.0.2\n",
    listeners: dict[str, str | None] | None = None,
    settings: dict[str, str] | None = None,
    brokers: dict[str, list[str]] | None = None,
) -> Verdict:
    assert isinstance(CONTROL, JudgingControl)
    what = compiled(text)
    to = CONTROL.asks(what.context)["routes"]["to"]
    said = {"rules": {"iptables": {"ipv4": ipv4 or {}, "ipv6": {}}, "nft": nft or []},
            "routes": {"uids": {**UIDS, "dnsmasq": 7}, "found": routes or [""] * len(to)},
            "lookup": resolv_conf, "listeners": listeners or LISTENERS, "settings": settings or {},
            "brokers": brokers or {}}  # fmt: skip
    return CONTROL.judges(what.context, said)


TAKEN = [
    ("raw", "A PREROUTING -p tcp -m tcp --dport 22 -j CT --notrack", "inbound.ssh", "nobody there is answered"),
    ("raw", "A OUTPUT -p tcp -m tcp --sport 22 -j CT --notrack", "inbound.ssh", "nobody there is answered"),
    ("raw", "A PREROUTING -j NOTRACK", "inbound.ssh", "out of connection tracking"),
    ("raw", "A PREROUTING -m comment --comment \"all of it, -j DROP\" -j CT --notrack", "inbound.ssh", "tracking"),
    ("raw", "A OUTPUT -d 203.0.113.0/24 -j CT --notrack", "providers.payments", "last packets"),
    ("raw", "A PREROUTING -s 203.0.113.5/32 -p tcp -j CT --notrack", "providers.payments", "last packets"),
    ("mangle", "A OUTPUT -d 203.0.113.5/32 -j DROP", "providers.payments", "is dropped"),
    ("mangle", "A POSTROUTING ! -d 10.0.0.0/8 -j DROP", "providers.payments", "is dropped"),
    ("mangle", "A INPUT -s 203.0.113.5/32 -j DROP", "a reply of providers.payments", "is dropped"),
    ("mangle", "P POSTROUTING DROP", "inbound.ssh", "mangle POSTROUTING's policy"),
    ("nat", "A OUTPUT -p tcp -m multiport --dports 80,443 -j REDIRECT --to-ports 15001", "payments", "sent elsewhere"),
    ("nat", "A OUTPUT -p udp -m udp --dport 53 -j DNAT --to-destination 127.0.0.53:53", "resolvers", "sent elsewhere"),
    ("nat", "A OUTPUT -p tcp -m owner --uid-owner 101 -j DNAT --to-destination 192.0.2.1", "payments", "elsewhere"),
    ("nat", "A OUTPUT -p tcp -m owner ! --uid-owner 1337 -j REDIRECT --to-ports 15001", "payments", "elsewhere"),
    ("filter", "A INPUT -s 203.0.113.0/24 -j REJECT --reject-with icmp-port-unreachable", "payments", "is dropped"),
    ("filter", "P INPUT DROP", "inbound.ssh", "filter INPUT's policy"),
    ("filter", "P INPUT DROP\nA INPUT -g others\nA others -p udp -j ACCEPT", "inbound.ssh", "filter INPUT's policy"),
    ("raw", "A PREROUTING -j others\nA others -p tcp -j CT --notrack", "inbound.ssh", "out of connection tracking"),
    ("security", "A OUTPUT -p tcp -m tcp --dport 443 -j DROP", "providers.payments", "is dropped"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "rule", "whose", "what"), TAKEN)
def test_what_takes_a_sanctioned_way_away(table: str, rule: str, whose: str, what: str) -> None:
    found = judge(tables(**{table: rule.splitlines()}))
    assert found.status == "fail"
    assert whose in found.actual
    assert what in found.actual


BESIDE = {
    "node-local DNS": tables(raw=[
        "A PREROUTING -d 169.254.20.10/32 -p udp -m udp --dport 53 -j CT --notrack",
        "A OUTPUT -s 169.254.20.10/32 -p udp -m udp --sport 53 -j CT --notrack",
    ]),
    "what is taken out of tracking on the loopback": tables(raw=["A OUTPUT -o lo -j CT --notrack"]),
    "DNS by UDP, which needs no tracking": tables(raw=["A OUTPUT -p udp -m udp --dport 53 -j CT --notrack"]),
    "Docker": tables(
        nat=["A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
             "A DOCKER ! -i docker0 -p tcp -m tcp --dport 443 -j DNAT --to-destination 172.17.0.2:443",
             "A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"],
        raw=["A PREROUTING -d 172.17.0.2/32 ! -i docker0 -j DROP"],
    ),
    "kube-proxy": tables(
        nat=["A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES",
             "A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-X",
             "A KUBE-SVC-X -m statistic --mode random --probability 0.5 -j KUBE-SEP-1", "A KUBE-SVC-X -j KUBE-SEP-2",
             "A KUBE-SEP-1 -p tcp -j DNAT --to-destination 10.0.0.9:443",
             "A KUBE-SEP-2 -p tcp -j DNAT --to-destination 10.0.0.9:443"],
        filter=["A INPUT -j KUBE-FIREWALL", "A KUBE-FIREWALL -m mark --mark 0x8000/0x8000 -j DROP",
                "A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT "
                "-j DROP"],
    ),
    "fail2ban": tables(filter=[
        "A INPUT -p tcp -m multiport --dports 22 -j f2b-sshd", "A f2b-sshd -s 10.77.0.9/32 -j REJECT",
        "A f2b-sshd -j RETURN"]),
    "ufw that lets SSH in": tables(filter=[
        "P INPUT DROP", "A INPUT -j ufw-before-input", "A ufw-before-input -i lo -j ACCEPT",
        "A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "A ufw-before-input -m conntrack --ctstate INVALID -j DROP", "A ufw-before-input -j ufw-not-local",
        "A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN", "A ufw-not-local -j DROP",
        "A ufw-before-input -j ufw-user-input", "A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT"]),
    "a rate that is held": tables(filter=[
        "P INPUT DROP", "A INPUT -p tcp -m tcp --dport 22 -m limit --limit 5/min -j ACCEPT",
        "A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"]),
    "what stands behind ours": tables(filter=[
        "A OUTPUT -j HOSTGUARD-OUTPUT", "A OUTPUT -j REJECT", "P OUTPUT DROP",
        "A HOSTGUARD-OUTPUT -j DROP"]),
    "a chain that some come to": tables(raw=[
        "A PREROUTING -m set --match-set busy src -j UNTRACKED", "A UNTRACKED -j CT --notrack"]),
    "another account's way": tables(nat=["A OUTPUT -m owner --uid-owner 1000 -j REDIRECT --to-ports 15001"]),
    "another source": tables(mangle=["A INPUT -s 198.51.100.0/24 -j DROP", "A INPUT -p udp -j DROP"]),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(BESIDE) - {"another source"}))
def test_tools_that_leave_it(name: str) -> None:
    found = judge(BESIDE[name])
    assert found.status == "pass", found.actual


def test_a_reply_that_is_dropped_is_told_of_its_protocol_alone() -> None:
    found = judge(BESIDE["another source"])
    assert "a reply of resolvers" in found.actual
    assert "payments" not in found.actual


def test_what_only_drops_before_ours_takes_a_way() -> None:
    found = judge(tables(filter=["A OUTPUT -d 203.0.113.5/32 -j DROP", "A OUTPUT -j HOSTGUARD-OUTPUT"]))
    assert "`filter OUTPUT -d 203.0.113.5/32 -j DROP`" in found.actual


def test_replies_are_let_in_by_ours_before_a_policy_drops_them() -> None:
    text = POLICY.replace("  inbound: {ssh: {from: [10.77.0.0/24], ports: [22]}}\n", "")
    lines = ["P INPUT DROP", "A INPUT -j HOSTGUARD-INPUT"]
    assert judge(tables(filter=lines), text=text).status == "pass"
    assert judge(tables(filter=lines[:1]), text=text).status == "fail"


def chain(name: str, hook: str = "", policy: str = "accept", kind: str = "filter") -> dict[str, Any]:
    base = {"type": kind, "hook": hook, "prio": 0, "policy": policy} if hook else {}
    return {"chain": {"family": "inet", "table": "x", "name": name, **base}}


def rule(name: str, *expr: Any) -> dict[str, Any]:
    return {"rule": {"family": "inet", "table": "x", "chain": name, "handle": 1, "expr": list(expr)}}


def payload(protocol: str, field: str, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"payload": {"protocol": protocol, "field": field}}, "right": right}}


def meta(key: str, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


PREFIX = {"prefix": {"addr": "203.0.113.0", "len": 24}}
STATES = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
DROP, ACCEPT = {"drop": None}, {"accept": None}


@pytest.mark.parametrize(
    ("listed", "whose"),
    [
        (
            [chain("o", "output"), rule("o", payload("ip", "daddr", PREFIX), {"counter": {}}, DROP)],
            "providers.payments",
        ),
        ([chain("o", "output", "drop"), rule("o", payload("tcp", "dport", {"set": [22, 80]}), ACCEPT)], "payments"),
        ([chain("p", "prerouting"), rule("p", payload("tcp", "dport", 22), {"notrack": None})], "inbound.ssh"),
        ([chain("o", "output", kind="nat"), rule("o", meta("skuid", 101), {"redirect": {"port": 1}})], "payments"),
        ([chain("i", "input", "drop"), rule("i", STATES, ACCEPT)], "inbound.ssh"),
        ([chain("i", "input"), rule("i", {"goto": {"target": "z"}}), chain("z"), rule("z", {"reject": None})], "ssh"),
        ([chain("o", "output"), rule("o", meta("l4proto", {"set": ["tcp", "udp"]}), DROP)], "payments"),
    ],
)
def test_nft_that_takes_a_sanctioned_way_away(listed: list[Any], whose: str) -> None:
    found = judge(nft=listed)
    assert found.status == "fail"
    assert whose in found.actual


LETS_IN = [rule("i", STATES, ACCEPT), rule("i", payload("tcp", "dport", 22), ACCEPT)]


@pytest.mark.parametrize(
    "listed",
    [
        [chain("i", "input", "drop"), *LETS_IN],
        [chain("i", "input"), rule("i", meta("iifname", "lo"), DROP)],
        [chain("o", "output"), rule("o", payload("ip", "daddr", "@bad"), DROP)],
        [chain("o", "output"), rule("o", payload("ip", "daddr", "203.0.113.9"), DROP)],
        [chain("o", "output"), rule("o", payload("tcp", "dport", {"range": [444, 500]}), DROP)],
        [chain("o", "output"), rule("o", meta("mark", 7), DROP)],
        [chain("i", "input", "drop"), rule("i", {"vmap": {"key": 1, "data": {}}})],
        [chain("n", "prerouting", kind="nat"), rule("n", payload("tcp", "dport", 22), {"dnat": {"addr": "10.0.0.9"}})],
        [chain("f", "forward", "drop")],
        [{"metainfo": {}}, chain("o", "output"), {"chain": {"family": "netdev", "table": "x", "name": "y"}}],
    ],
)
def test_nft_that_leaves_it(listed: list[Any]) -> None:
    found = judge(nft=listed)
    assert found.status == "pass", found.actual


@pytest.mark.parametrize("error", passage.NO_ROUTE)
def test_a_route_that_refuses(error: str) -> None:
    routes = ["", "", error, ""]
    found = judge(routes=routes)
    assert found.status == "fail"
    assert passage.NO_ROUTE[error] in found.actual
    assert judge(routes=["ENETUNREACH"] * 4).status == "pass"


def test_an_answer_about_other_routes_is_none() -> None:
    with pytest.raises(ValueError, match="zip"):
        judge(routes=[""])


def test_of_many_networks_the_first_of_each_way_are_walked() -> None:
    many = ", ".join(f"10.{a}.{b}.0/24" for a in range(1, 41) for b in range(5))
    text = POLICY.replace("203.0.113.5/32", many)
    tried = passage.tried(Policy.model_validate(json.loads(json.dumps(compiled(text).loaded.data))).egress)
    assert len([way for way in tried if way.family == "ipv4"]) == passage.MOST_TRIED
    assert {way.name for way in tried} == {"inbound.ssh", "resolvers", "providers.payments"}


BROKER = "# systemd-resolved\nnameserver 127.0.0.53\noptions edns0 trust-ad\n"
USERS = POLICY.replace("  resolvers: [10.0.0.2]\n", "  resolvers: [10.0.0.2]\n  resolver_users: [envoy]\n")


@pytest.mark.parametrize(
    ("text", "resolv_conf", "status"),
    [
        (USERS, BROKER, "fail"),
        (USERS, "nameserver 10.0.0.2\n", "pass"),
        (USERS, "nameserver 127.0.0.1\n", "pass"),  # nobody answers there
        (POLICY, BROKER, "pass"),  # any account may ask
        (USERS.replace('cidrs: [203.0.113.5/32, "2001:db8::5/128"]', "hosts: [api.provider.com]"), BROKER, "pass"),
    ],
)
def test_a_resolver_on_the_host_that_asks_for_everybody(text: str, resolv_conf: str, status: str) -> None:
    found = judge(text=text, resolv_conf=resolv_conf)
    assert found.status == status
    assert ("the account 991 asks for everybody" in found.actual) == (status == "fail")


def table(*places: str, uid: int = 991) -> str:
    rows = (f" {at}: {place} 00000000:0000 07 0:0 0:0 0 {uid} 0 4242 2 0 0\n" for at, place in enumerate(places))
    return "  sl  local_address rem_address st\n" + "".join(rows)


ANY, ANY6, LOCAL6 = "00000000:0035", f"{'0' * 32}:0035", f"{'0' * 24}01000000:0035"
MAPPED, OWN = f"{'0' * 16}FFFF00000100007F:0035", "0500000A:0035"


@pytest.mark.parametrize(
    ("nameservers", "udp", "udp6", "status"),
    [
        ("127.0.0.1", table(ANY), None, "fail"),
        ("127.0.0.1", "", table(ANY6), "fail"),
        ("127.0.0.1", "", table(MAPPED), "fail"),
        ("::1", "", table(LOCAL6), "fail"),
        ("::1", "", table(ANY6), "fail"),
        ("10.0.0.5", table(OWN), None, "fail"),  # an address of the host's own
        ("10.0.0.5", table(ANY), table(ANY6), "pass"),  # nobody knows whose address that is
        ("127.0.0.1", table(ANY, uid=101), None, "pass"),  # envoy may ask
        ("127.0.0.1", table("0100007F:0035", uid=101) + table(ANY).partition("\n")[2], None, "pass"),
        ("10.0.0.2 127.0.0.1", table(ANY), None, "pass"),  # asked where the first does not answer
        ("127.0.0.1", table("00000000:14E9"), None, "pass"),
        ("localhost", table(ANY), None, "pass"),
    ],
)
def test_whoever_answers_where_resolv_conf_leads(nameservers: str, udp: str, udp6: str | None, status: str) -> None:
    resolv_conf = "".join(f"nameserver {each}\n" for each in nameservers.split())
    listeners = {"tcp": "", "tcp6": None, "udp": udp, "udp6": udp6}
    found = judge(text=USERS, resolv_conf=resolv_conf, listeners=listeners)
    assert found.status == status, found.actual


NSCD = {"/etc/nscd.conf": "\tenable-cache\t\thosts\t\tyes\n"}
SWITCH = {"/etc/nsswitch.conf": "hosts: files resolve [!UNAVAIL=return] dns\n"}
PASSES_ON = {"/etc/nsswitch.conf": "hosts: files resolve dns\n"}
STREAM, VARLINK = "/run/nscd/socket", "/run/systemd/resolve/io.systemd.Resolve"
BY_HOSTS = USERS.replace('cidrs: [203.0.113.5/32, "2001:db8::5/128"]', "hosts: [api.provider.com]")


@pytest.mark.parametrize(
    ("text", "settings", "brokers", "said"),
    [
        (USERS, NSCD, {STREAM: ["nscd"]}, "nscd asks for everybody as nscd"),
        (USERS, NSCD, {"/var/run/nscd/socket": ["root"]}, "nscd asks for everybody as root"),
        (USERS, NSCD, {}, ""),
        (USERS, NSCD, {STREAM: ["envoy"]}, ""),
        (USERS, {"/etc/nscd.conf": "enable-cache hosts no\n# enable-cache hosts yes\n"}, {STREAM: ["nscd"]}, ""),
        (USERS, {}, {STREAM: ["nscd"]}, ""),
        (POLICY, NSCD, {STREAM: ["nscd"]}, ""),
        (BY_HOSTS, NSCD, {STREAM: ["nscd"]}, "nscd asks for everybody"),
        (USERS, SWITCH, {VARLINK: ["systemd-resolve"]}, "systemd-resolved asks for everybody as systemd-resolve"),
        (USERS, PASSES_ON, {VARLINK: ["systemd-resolve"]}, ""),
        (USERS, SWITCH, {}, ""),
        (BY_HOSTS, SWITCH, {VARLINK: ["systemd-resolve"]}, ""),
    ],
)
def test_who_is_asked_by_a_socket_asks_in_his_own_name(
    text: str, settings: dict[str, str], brokers: dict[str, list[str]], said: str
) -> None:
    found = judge(text=text, settings=settings, brokers=brokers)
    assert found.status == ("fail" if said else "pass"), found.actual
    assert said in found.actual


def test_who_answers_on_a_socket_is_read_off_the_host(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    paths = [str(tmp_path / "link" / name) for name in ("answers", "bound", "absent")]
    with socket.socket(socket.AF_UNIX) as answers, socket.socket(socket.AF_UNIX) as bound:
        answers.bind(str(tmp_path / "answers"))
        bound.bind(str(tmp_path / "bound"))
        answers.listen()
        found = evidence.collect({"brokers": {"collect": "unix-listeners", "paths": paths}})
    assert found == {"brokers": {"said": {paths[0]: [account_of(os.geteuid())]}}}
