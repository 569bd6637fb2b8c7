"""What is proposed from what was seen lets exactly that go on, and is added to a policy's text without touching it."""

from __future__ import annotations

import base64
import ipaddress
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hostguard.observe.attempts import addresses
from hostguard.observe.insert import CantInsert, insert
from hostguard.observe.propose import Entry, Proposal, propose
from hostguard.observe.seen import Seen, links
from hostguard.policy import load
from hostguard.policy.destinations import destinations, leaving
from hostguard.policy.model import Egress

AT = 1_800_000_000.0
EXAMPLE = (Path(__file__).parents[2] / "examples" / "hostguard.yml").read_text(encoding="utf-8")
STARTER = (Path(load.__file__).parent / "starter" / "hostguard.yml").read_text(encoding="utf-8")
PROCESS = {"pid": 7, "command": "curl", "exe": "/usr/bin/curl", "unit": "app.service"}


def attempt(number: int, to: str, port: int, account: str = "app", **more: Any) -> dict[str, Any]:
    here = "2001:db8:77::9" if ":" in to else "10.77.0.9"
    event = {"is": "attempt", "id": number, "at": AT, "account": account, "process": PROCESS, "verdict": "observe",
             "hook": "output", "answer": False, "protocol": "tcp", "from": here, "from_port": 40000 + number,
             "to": to, "port": port, "refusal": False, "ending": False}  # fmt: skip
    return {**event, **more}


def called(number: int, peer: str, port: int, account: str = "root", **more: Any) -> dict[str, Any]:
    ends = {"from_port": port, "port": 50000, "answer": True, "process": {"command": "sshd", "pid": 1}}
    return {**attempt(number, peer, 0, account), **ends, **more}


def answer(name: str, *found: str) -> dict[str, Any]:
    reply = dns.message.make_response(dns.message.make_query(name, "A"))
    reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "CNAME", "cdn.example.net."))
    for address in found:
        kind = "AAAA" if ":" in address else "A"
        reply.answer.append(dns.rrset.from_text("cdn.example.net.", 60, "IN", kind, address))
    return {"is": "answer", "message": base64.b64encode(reply.to_wire()).decode()}


def seen(*events: dict[str, Any]) -> Seen:
    found = Seen()
    for event in events:
        found.hear(event)
    return found


def egress(**more: Any) -> Egress:
    return Egress.model_validate(
        {"mode": "observe", "via": "direct", "resolvers": ["10.0.0.2"],
         "services": {"vault": {"cidrs": ["10.0.0.8/32"], "ports": [8200], "users": ["vault-agent"]}}, **more}
    )  # fmt: skip


def told(proposal: Proposal) -> list[tuple[str, str, dict[str, Any] | None]]:
    return [(entry.section, entry.name, entry.value) for entry in proposal.entries]


def test_whom_the_gateway_refuses_gets_no_way_out_for_it() -> None:
    found = propose(egress(), seen(attempt(0, "127.0.0.84", 84, verdict="deny")))
    assert found.entries == ()
    assert "the `users` of its provider alone" in found.remarks[0]


def test_destinations_become_entries_by_their_name_and_who_reaches_them() -> None:
    found = propose(egress(), seen(
        answer("api.stripe.example", "203.0.113.9", "203.0.113.10"),
        attempt(0, "203.0.113.9", 443), attempt(1, "203.0.113.10", 443, "envoy"), attempt(2, "10.0.0.9", 5432),
        attempt(3, "10.0.0.9", 5432, "worker"), attempt(4, "10.0.0.9", 6379), attempt(5, "2001:db8::7", 8443),
        attempt(6, "10.0.0.5", 514, "syslog", protocol="udp"), attempt(7, "10.0.0.2", 53, protocol="udp"),
        attempt(8, "10.0.0.4", 53, protocol="udp"), attempt(9, "10.0.0.3", 123, "ntp", protocol="udp"),
        attempt(10, "10.0.0.8", 8200, "vault-agent"),
    ))  # fmt: skip
    assert told(found) == [
        ("resolvers", "10.0.0.4", None),
        ("time_servers", "10.0.0.3", None),
        ("services", "10.0.0.5", {"cidrs": ["10.0.0.5/32"], "ports": [514], "users": ["syslog"], "protocol": "udp"}),
        ("services", "10.0.0.9", {"cidrs": ["10.0.0.9/32"], "ports": [5432, 6379], "users": ["app"]}),
        ("services", "10.0.0.9-2", {"cidrs": ["10.0.0.9/32"], "ports": [5432], "users": ["worker"]}),
        ("providers", "api.stripe.example", {"cidrs": ["203.0.113.9/32", "203.0.113.10/32"], "ports": [443]}),
        ("providers", "2001-db8--7", {"cidrs": ["2001:db8::7/128"], "ports": [8443]}),
    ]
    comments = found.entries[5].comments
    assert comments[0] == (
        "app by curl (app.service) reached api.stripe.example 203.0.113.9 tcp 443 once, 2027-01-15 08:00:00 UTC"
    )


def test_who_is_not_the_proxy_is_pointed_out() -> None:
    of_proxy = egress(via="proxy", proxy_user="envoy")
    found = propose(of_proxy, seen(attempt(0, "203.0.113.9", 443), attempt(1, "203.0.113.9", 443, "envoy")))
    assert told(found) == [("providers", "203.0.113.9", {"cidrs": ["203.0.113.9/32"], "ports": [443]})]
    assert "app by curl" in found.remarks[0]
    assert "203.0.113.9: {cidrs: [203.0.113.9/32], ports: [443], users: [app]}" in found.remarks[0]


def test_what_a_name_lets_out_needs_no_address() -> None:
    by_name = egress(providers={"a": {"hosts": ["*.stripe.example"]}})
    events = (answer("api.stripe.example", "203.0.113.9"), attempt(0, "203.0.113.9", 443))
    assert told(propose(by_name, seen(*events))) == []
    assert told(propose(by_name, seen(*events[1:]))) != []
    assert len(propose(egress(), seen(*events)).entries[0].comments) == 2
    past = propose(by_name, seen(attempt(0, "10.0.0.4", 53, protocol="udp")))
    assert (told(past), len(past.remarks)) == ([], 1)


def test_callers_become_ways_in_by_the_network_that_is_shared() -> None:
    found = seen(called(0, "10.77.0.1", 22), called(1, "10.77.0.2", 22), called(2, "198.51.100.66", 22),
                 called(3, "198.51.100.67", 23, refusal=True))  # fmt: skip
    found.links = {ipaddress.ip_network("10.77.0.0/24"), ipaddress.ip_network("10.0.0.0/8")}
    assert told(propose(egress(), found)) == [
        ("inbound", "sshd", {"from": ["10.77.0.0/24", "198.51.100.66/32"], "ports": [22]})
    ]
    crowd = propose(egress(), seen(*(called(n, f"198.51.100.{n}", 443) for n in range(1, 40))))
    assert told(crowd) == [("inbound", "sshd", {"from": ["0.0.0.0/0"], "ports": [443]})]
    assert crowd.entries[0].comments[0].startswith("CHECK")


def test_what_no_policy_can_say_is_pointed_out() -> None:
    found = propose(egress(), seen(
        attempt(0, "198.51.100.1", 8, "root", protocol="icmp"), attempt(1, "10.0.0.9", 5432, "4711"),
        attempt(2, "198.51.100.1", 443, "", hook="forward", **{"from": "172.17.0.2"}),
        attempt(3, "198.51.100.1", 443, "", ending=True),
    ))  # fmt: skip
    assert told(found) == []
    assert len(found.remarks) == 3
    for part in ("lets icmp out", "without a name", "172.17.0.2 (forwarded)"):
        assert sum(part in remark for remark in found.remarks) == 1, part


def test_what_the_kernel_sends_by_itself_is_proposed_without_users() -> None:
    events = (
        attempt(0, "10.0.0.21", 4789, "", protocol="udp"), attempt(1, "10.0.0.22", 4789, "", protocol="udp"),
        attempt(2, "203.0.113.9", 51820, "", protocol="udp"), attempt(3, "10.0.0.9", 7, "", protocol="udp"),
        attempt(4, "10.0.0.30", 2049, ""), attempt(5, "198.51.100.1", 445, ""),
    )  # fmt: skip
    found = propose(egress(via="proxy", proxy_user="envoy"), seen(*events))
    assert told(found) == [
        ("services", "10.0.0.9", {"cidrs": ["10.0.0.9/32"], "ports": [7], "protocol": "udp"}),
        ("services", "VXLAN", {"cidrs": ["10.0.0.21/32", "10.0.0.22/32"], "ports": [4789], "protocol": "udp"}),
        ("services", "NFS", {"cidrs": ["10.0.0.30/32"], "ports": [2049]}),
        ("services", "WireGuard", {"cidrs": ["203.0.113.9/32"], "ports": [51820], "protocol": "udp"}),
    ]
    assert all(entry.comments[0].startswith("CHECK: the kernel itself sends it") for entry in found.entries)
    (remark,) = found.remarks
    assert "under services say 198.51.100.1: {cidrs: [198.51.100.1/32], ports: [445]}, which lets every acc" in remark
    after = egress(services={"vxlan": {"cidrs": ["10.0.0.0/24"], "ports": [4789], "protocol": "udp"}})
    assert told(propose(after, seen(*events[:2]))) == [], "the policy says it already"


def test_a_way_that_was_seen_to_end_and_then_to_begin_has_begun() -> None:
    events = (attempt(0, "10.0.0.30", 2049, "", ending=True), attempt(1, "10.0.0.30", 2049, ""))
    assert told(propose(egress(), seen(events[0]))) == []
    assert [entry.name for entry in propose(egress(), seen(*events)).entries] == ["NFS"]


def test_an_entry_is_counted_from_its_events() -> None:
    again = {"is": "again", "id": 0, "at": AT + 65, "attempts": 4, "packets": 9}
    (entry,) = propose(egress(), seen(attempt(0, "203.0.113.9", 443), again)).entries
    assert entry.comments[0].endswith("5 times, 2027-01-15 08:00:00 UTC to 2027-01-15 08:01:05 UTC")


asked = st.tuples(
    st.sampled_from(["203.0.113.1", "203.0.113.2", "10.0.0.1", "10.0.0.2", "2001:db8::1", "fd00::1", "10.0.0.8"]),
    st.sampled_from([22, 53, 123, 443, 8200]),
    st.sampled_from(["app", "envoy", "root", "vault-agent"]),
    st.sampled_from(["tcp", "udp"]),
)
names = st.dictionaries(st.sampled_from(["a.example", "b.example"]), st.sampled_from(["203.0.113.1", "203.0.113.2"]))


@given(st.lists(asked, max_size=12), names, st.sampled_from(["proxy", "direct"]), st.booleans())
def test_the_new_policy_lets_go_on_what_was_seen_and_nothing_else(
    reached: list[tuple[str, int, str, str]], named: dict[str, str], via: str, few: bool
) -> None:
    text = f"""\
version: 1
egress:   # kept
  mode: observe
  via: {via}
  proxy_user: envoy
  resolvers: [10.0.0.2]
{"  resolver_users: [envoy]  # kept" if few else ""}
  services:
    vault: {{cidrs: [10.0.0.8/32], ports: [8200], users: [vault-agent]}}
# kept
"""
    before = load.parse(text.encode(), "test").policy.egress
    assert before is not None
    events = [answer(name, address) for name, address in named.items()]
    events += [attempt(n, to, port, who, protocol=how) for n, (to, port, who, how) in enumerate(reached)]
    proposal = propose(before, seen(*events))
    new = insert(text, proposal)
    assert all(line.partition("]")[0] in new for line in text.splitlines())
    after = load.parse(new.encode(), "test").policy.egress
    assert after is not None
    pairs = {(to.account, str(to.network.network_address), to.port, to.protocol) for to in destinations(leaving(after))}
    pairs -= {
        (to.account, str(to.network.network_address), to.port, to.protocol) for to in destinations(leaving(before))
    }
    who = {(account, to, port, how) for to, port, account, how in reached}
    for to, port, account, how in reached:
        held = not (
            {(account, to, port, how), (None, to, port, how)}
            & (
                pairs
                | {
                    (each.account, str(each.network.network_address), each.port, each.protocol)
                    for each in destinations(leaving(before))
                }
            )
        )
        past_proxy = how == "tcp" and via == "proxy" and account != "envoy" and to[:3] in ("203", "200")
        assert held <= past_proxy, (to, port, account, how)
    for account, to, port, how in pairs:
        of_servers = port in (53, 123)
        assert of_servers or any((to, port, how) == each[1:] and account in (None, each[0]) for each in who)


ENTRIES = (
    Entry("resolvers", "10.0.0.4", None, ("asked by app",)),
    Entry("time_servers", "2001:db8::3", None, ("asked by ntp",)),
    Entry("providers", "api.example", {"cidrs": ["203.0.113.9/32", "2001:db8::9/128"], "ports": [443]}, ("who",)),
    Entry("services", "off", {"cidrs": [f"10.1.0.{n}/32" for n in range(9)], "ports": [1], "users": ["app"]}, ("who",)),
    Entry("inbound", "sshd", {"from": ["10.77.0.0/24"], "ports": [22]}, ("who\nversion: 2", "x" * 300)),
)


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        STARTER,
        STARTER.replace("services: {} ", "services: {a: {cidrs: [10.9.9.9/32], ports: [1]}} "),
        "version: 1\negress:\n  via: direct\n  providers: {a: {cidrs: [10.9.9.9/32], ports: [1]}, }",
        "version: 1\negress:\n    via: direct\n    resolvers:\n    - 10.0.0.2   # one\n    # two\n    providers:\n"
        "        a:\n            cidrs:\n            - 10.9.9.9/32\n\n# end\nkernel: {}\n",
        "egress:\r\n  via: direct\r\n  providers: {a: {cidrs: [10.9.9.9/32]}}\r\nversion: 1\r\n",
        "version: 1\negress:\n  providers:\n    a: &a {cidrs: [10.9.9.9/32]}\n  via: direct\n",
        "version: 1\negress:\n  providers: {\n    a: {cidrs: [10.9.9.9/32]} # one\n    } # two\n  via: direct\n",
    ],
)
def test_every_line_stays_as_it_is(text: str) -> None:
    new = insert(text, Proposal(ENTRIES, ("a remark: with a colon", "# and\x1b[31m another")))
    added = yaml.safe_load(new)["egress"]
    assert added["providers"]["api.example"] == ENTRIES[2].value
    assert added["services"]["off"]["users"] == ["app"]
    assert "a remark" in new
    assert "\x1b" not in new
    load.parse(new.encode(), "test")
    # What is not an addition is as it was: taking comments and new words out of it, nothing else goes.
    rest = iter(new)
    assert all(letter in rest for letter in text.replace("{}", "").replace("[]", "").replace(" ", "").strip())
    for line in text.splitlines():
        assert line.strip() in new or any(mark in line for mark in ("[10.0.0", "[192.0.2", "{}", "{a:", "[]", "# one"))


@pytest.mark.parametrize(
    "text",
    [
        "version: 1\negress: {via: direct, providers: {a: {cidrs: [10.9.9.9/32]}}}\n",
        "version: 1\nx: &p {a: {cidrs: [10.9.9.9/32]}}\negress:\n  via: direct\n  providers: *p\n",
    ],
)
def test_a_text_that_nothing_can_be_added_to_is_refused_in_words(text: str) -> None:
    with pytest.raises(CantInsert, match=r"write it (in block style|out)"):
        insert(text, Proposal(ENTRIES, ()))


def test_links_are_read_as_the_kernel_writes_them() -> None:
    routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    routes += "eth0\t00000000\t01004D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
    routes += "eth0\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
    addresses6 = "20010db800770000000000000000000b 03 40 00 80     eth0\n"
    addresses6 += "00000000000000000000000000000001 01 80 10 80       lo\n"
    assert links(routes, addresses6) == {
        ipaddress.ip_network("10.77.0.0/24"), ipaddress.ip_network("2001:db8:77::/64"),
    }  # fmt: skip


@given(st.binary(max_size=80))
def test_what_is_no_dns_answer_says_nothing(message: bytes) -> None:
    assert isinstance(list(addresses(message)), list)
