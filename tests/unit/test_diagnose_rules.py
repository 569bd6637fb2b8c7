"""Each rule of the diagnosis, held against what a host says: the fault is named, what is well is not, and what makes no
sense was not read."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hostguard.diagnose import diagnosis, shown
from hostguard.diagnose.diagnosis import Diagnosis
from hostguard.diagnose.rule import Asked, Finding
from hostguard.diagnose.rules import (
    RULES,
    accept_queue,
    certificate_ends,
    clock,
    held,
    lookups,
    open_files,
    ports,
    refused,
    stale_addresses,
    tasks,
    tls,
    unreachable,
)
from hostguard.policy.load import LoadedPolicy, of_variables
from hostguard.seen import Seen
from tests.patience import slowness
from tests.unit import gateway_recorded, hostile
from tests.unit.diagnosed import asked, diagnosed, findings

AT, DAY = 1_800_000_000, 86400
NAME, HERE, THERE = "api.provider.com", "192.0.2.7", "192.0.2.8"
DATA: dict[str, Any] = {
    "version": 1,
    "egress": {
        "proxy_user": "envoy", "resolvers": ["10.0.0.2", "10.0.0.4"], "resolver_users": ["envoy"],
        "time_servers": ["10.0.0.3"],
        "providers": {"payments": {"hosts": [NAME]}, "letters": {"cidrs": ["203.0.113.5/32"]}},
        "services": {"vault": {"cidrs": ["10.0.0.8/32"], "ports": [8200], "users": ["vault-agent"]}},
        "inbound": {"ssh": {"from": ["10.77.0.0/24"], "ports": [22]}},
    },
    "gateway": {"providers": {"payments": {"users": ["shop"], "listen": 84, "load": {"peak_rps": 10, "p99": "1s"},
                                           "client_certificate": "client", "credential": {"secret": "key"}}}},
    "limits": {"nofile": 4096, "units": ["shop.service"]},
    "secrets": {"files": {"client": {"certificate": "/run/secrets/c.pem", "key": "/run/secrets/c.key"},
                          "key": {"new": "/run/secrets/key"}}},
    "slices": {"egress": {"units": ["shop.service"], "tasks_max": 100, "memory_max": "2G"}},
}  # fmt: skip


def policy(**more: Any) -> LoadedPolicy:
    """With other sections; None is without it."""
    return of_variables({name: said for name, said in {**DATA, **more}.items() if said is not None}, "a test")


def about(only: str = "", **more: Any) -> Asked:
    return Asked(policy(**more), only=only)


ASKED, ALONE = about(), about(gateway=None)
ANSWER = {"code": "NOERROR", "addresses": [HERE], "ttl": 60}
CERTIFICATE = {"subject": NAME, "issuer": "An Authority", "names": [NAME], "begins": AT - DAY, "ends": AT + 90 * DAY,
               "own": False}  # fmt: skip
SHAKEN: dict[str, Any] = {
    "stage": "", "error": "", "address": HERE, "connect": 0.01, "round_trip": 0.01, "sent_again": 0, "handshake": 0.02,
    "version": "TLSv1.3", "alert": 0, "verify": 0, "asked": False, "chain": [CERTIFICATE],
}  # fmt: skip
LISTENER = {"address": "0.0.0.0", "port": 8080, "waiting": 0, "backlog": 128, "half_open": 0, "account": "shop",
            "process": "python3 (7)", "unit": "shop.service"}  # fmt: skip
GROUP = {"from": "10.77.0.11", "to": HERE, "port": 443, "state": "established", "account": "envoy",
         "process": "envoy (7)", "count": 3}  # fmt: skip
FOLDER = tempfile.TemporaryDirectory()
KEY = {"age": 60, "size": 20, "in_memory": True, "owner": "root", "readers": [], "more": False}
ADDRESS = "192.0.2.9"
MEMBERS = f"payments::{ADDRESS}:443::hostname::{NAME}\npayments::{ADDRESS}:443::health_flags::healthy\n"
STATE = gateway_recorded.state("well", members=MEMBERS)
FILE = {"error": "", "all": 1, "first": [{**CERTIFICATE, "days": 90}]}
NOTHING = {"code": "silent", "addresses": [], "ttl": 0}
SOCKSTAT = f"settings/{ports.SOCKSTAT.replace('/', '|')}"
FLOODED = "TCP: request_sock_TCP: Possible SYN flooding on port"
NETSTAT = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 0 0\nIpExt: InOctets\nIpExt: 7\n"
SETTINGS = {ports.RANGE: "32768\t60999\n", ports.REUSE: "2\n", ports.STAMPS: "1\n", ports.RESERVED: "\n",
            ports.SOCKSTAT: "sockets: used 9\nTCP: inuse 1 orphan 0 tw 12 alloc 3 mem 0\n"}  # fmt: skip


def well(request: Mapping[str, Any]) -> Any:
    """What a host says that has no fault, by what it is asked."""
    collect = request["collect"]
    if collect == "answers":
        return {server: dict.fromkeys(request["names"] or ["."], ANSWER) for server in request["servers"]}
    if collect == "handshakes":
        return {"at": AT, "found": [{"said": SHAKEN} for _ in request["to"]]}
    if collect == "time-offsets":
        return {server: {"offset": 0.01, "error": ""} for server in request["servers"]}
    if collect == "certificates":
        return dict.fromkeys(request["paths"], FILE)
    if collect == "set-members":
        return {name: [HERE] if "4-NEW" in name else [] for name in request["sets"]}
    if collect == "texts":
        known = {
            **SETTINGS,
            tasks.PIDS: "32768\n", tasks.THREADS: "9000\n", tasks.LOAD: "0.1 0.1 0.1 1/200 999\n",
            accept_queue.SOMAXCONN: "4096\n", accept_queue.NETSTAT: NETSTAT,
            "/etc/nsswitch.conf": "hosts: files dns\n",
            "/etc/nscd.conf": "enable-cache hosts yes\n",  # of an nscd that does not run
        }  # fmt: skip
        return {path: known[path] for path in request["patterns"] if path in known}
    if collect == "gateway-log":
        return gateway_recorded.log("well", Path(FOLDER.name))
    if collect == "secret-files":
        return dict.fromkeys(request["paths"], KEY)
    if collect == "lookups":
        return {name: {"addresses": [ADDRESS], "error": ""} for name in request["names"]}
    return {
        "gateway-state": STATE,
        "authorities": {"all": 1, "days": [900]},
        "certificate-ends": {},
        "open-files": {"counted": 90, "full": []},
        "tasks": [],
        "processes": {},
        "connections": {"groups": [GROUP], "left_out": 0},
        "queues": [LISTENER],
        "kernel-log": [],
        "denials": [],
        "unit-words": {},
        "log-counts": {unit: {"counts": {"429": 0, "401": 0}, "waits": []} for unit in request.get("units", ())},
        "adjtimex": {"code": 0, "status": 0, "maxerror": 10, "esterror": 1},
    }[collect]


def of(module: Any, at: str, new: Any, of_: Asked = ASKED) -> list[Finding]:
    """The findings where one thing is not well. `at` is the rule's name for the request, then keys or numbers."""
    requests = module.RULE.asks(of_)
    said = {name: well(request) for name, request in requests.items()}
    name, *way = at.split("/")
    path = tuple(int(step) if step.isdecimal() else step.replace("|", "/") for step in way)
    return findings(module.RULE, of_, {**said, name: hostile.changed(said[name], path, new)})


def about_which(rule: Any) -> Asked:
    """A policy of which the rule asks something."""
    return ALONE if rule is refused.RULE else ASKED


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_what_is_well_is_no_finding(rule: Any) -> None:
    requests = rule.asks(about_which(rule))
    assert not isinstance(requests, str)
    found = diagnosed(rule, about_which(rule), {name: well(request) for name, request in requests.items()})
    assert (found.findings, found.unread, len(found.looked)) == ((), (), 1)


def shaken(**more: Any) -> dict[str, Any]:
    return {**SHAKEN, **more}


def failed(**more: Any) -> dict[str, Any]:
    return shaken(stage="tls", version="", **more)


OVER = {**CERTIFICATE, "ends": AT - DAY}
LATER = {**CERTIFICATE, "begins": AT + DAY}
MIDDLE = {**CERTIFICATE, "subject": "A Middle", "issuer": "A Root"}
PROBE = "probes/found/0/said"
CLOSED = {**GROUP, "state": "time-wait", "process": "", "account": ""}
SYN = {**GROUP, "state": "syn-sent"}
FULL = {"pid": 7, "command": "shop", "unit": "shop.service", "account": "shop", "files": 900, "soft": 1000}
FAULTS: list[tuple[Any, str, Any, tuple[str, ...]]] = [
    (open_files, "files/full", [FULL], ("shop.service", "900 files", "restart shop.service", "limits.units")),
    (open_files, "files/full", [{**FULL, "soft": 4096}], ("raise `nofile` above 4096", "limits.nofile")),
    (open_files, "files/full", [{**FULL, "unit": "mail.service"}], ("add mail.service to `units`",)),
    (open_files, "files/full", [{**FULL, "unit": ""}], ("log in again",)),
    (tasks, "services", [{"unit": "shop.service", "tasks": 90, "most": 100}], ("slices.egress.tasks_max", "EAGAIN")),
    (tasks, "services", [{"unit": "mail.service", "tasks": 90, "most": 100}], ("TasksMax=", "mail.service")),
    (tasks, f"host/{tasks.LOAD.replace('/', '|')}", "1 1 1 2/8000 7\n", ("8000", "kernel.threads-max")),
    (lookups, "resolvers/10.0.0.4", {NAME: {**ANSWER, "code": "silent", "addresses": []}}, ("10.0.0.4", "in reserve")),
    (lookups, f"resolvers/10.0.0.4/{NAME}/code", "EPERM", ("10.0.0.4", "the firewall's word")),
    (lookups, f"resolvers/10.0.0.4/{NAME}", {**NOTHING, "code": "SERVFAIL"}, ("10.0.0.4 says SERVFAIL",)),
    (lookups, f"resolvers/10.0.0.4/{NAME}", {**NOTHING, "code": "REFUSED"}, ("REFUSED",)),
    (lookups, f"resolvers/10.0.0.4/{NAME}", {**NOTHING, "code": "NXDOMAIN"},
     ("NXDOMAIN from 10.0.0.4", "an answer from 10.0.0.2", "by who answers first")),
    (lookups, f"own/127.0.0.83/{NAME}", NOTHING, ("hostguard-names.service",)),
    (lookups, f"own/127.0.0.83/{NAME}", {**NOTHING, "code": "NXDOMAIN"}, ("hostguard apply", "payments")),
    (clock, "servers/10.0.0.3/offset", 3.5, ("3.5 s behind 10.0.0.3", "egress.time_servers")),
    (clock, "servers/10.0.0.3/offset", -900, ("900.0 s ahead of",)),
    (clock, "servers/10.0.0.3/error", "silent", ("no answer within 2 s",)),
    (stale_addresses, "connections/groups", [{**SYN, "to": THERE}], ("tries to connect", THERE, "envoy (7)", NAME)),
    (stale_addresses, "connections/groups", [{**GROUP, "to": THERE}], ("65 minutes", "likely")),
    (stale_addresses, "cache processes", {"nscd": [["/usr/sbin/nscd"]]}, ("nscd", "enable-cache hosts yes")),
    (ports, "connections/groups", [{**GROUP, "count": 20000}], ("20000 of 28232", "envoy (7)", "EADDRNOTAVAIL")),
    (ports, "connections/groups", [{**GROUP, "count": 9000}, {**CLOSED, "count": 12000}],
     ("21000 of 28232", "12000 of them in TIME_WAIT", "tcp_tw_reuse = 1")),
    (ports, SOCKSTAT, "TCP: inuse 1 orphan 0 tw 30001 alloc 3 mem 0\n",
     ("30001 connections in TIME_WAIT",)),
    (accept_queue, "queues/0/waiting", 128, ("shop.service", "128 callers", "asks for 128")),
    (accept_queue, "queues/0/half_open", 130, ("130 handshakes are half open",)),
    (accept_queue, "log", [f"{FLOODED} 0.0.0.0:8080. Sending cookies.  Check SNMP"],
     ("port 8080", "shop.service", "journalctl -k")),
    (accept_queue, "log", [f"{FLOODED} [::]:25. Dropping request."],
     ("port 25", "nobody listens")),
    (held, "connections/groups", [{**SYN, "to": "198.51.100.66", "account": "shop"}],
     ("198.51.100.66:443", "shop", "an entry would open it")),
    (held, "connections/groups", [{**SYN, "to": "203.0.113.5", "account": "shop"}], ("envoy alone", "egress.via")),
    (held, "connections/groups", [{**SYN, "to": "203.0.113.5", "port": 8443}], ("on port 443",)),
    (held, "denials", [{"account": "shop", "protocol": "udp", "to": "8.8.8.8", "port": 53, "count": 9}],
     ("9 packets were denied", "8.8.8.8:53/udp", "protocol: udp")),
    (held, "connections/groups", [{**SYN, "to": "127.0.0.84", "port": 84, "account": "mail"}],
     ("shop alone may use this port of the gateway",)),
    (held, "denials", [{"account": "", "protocol": "tcp", "to": "2001:db8::7", "port": 25, "count": 1}],
     ("[2001:db8::7]:25",)),
    (tls, PROBE, failed(verify=10, chain=[OVER, MIDDLE]), ("its own", "2027-01-14", "the provider must renew")),
    (tls, PROBE, failed(verify=10, chain=[CERTIFICATE, {**MIDDLE, "ends": AT - 1}]),
     ("`A Middle`", "signed by `A Root`")),
    (tls, PROBE, failed(verify=10), ("an authority that signed it", "likely")),
    (tls, PROBE, failed(verify=9, chain=[LATER]), ("not valid yet", "clock is behind", "egress.time_servers")),
    (tls, PROBE, failed(verify=62, chain=[{**CERTIFICATE, "names": ["x.example"]}]), ("x.example", "hosts")),
    (tls, PROBE, failed(verify=20), ("An intermediate certificate is missing", "`An Authority`", "gateway.ca")),
    (tls, PROBE, failed(verify=20, chain=[CERTIFICATE, MIDDLE]), ("`A Root`", "has not")),
    (tls, PROBE, failed(verify=19, chain=[CERTIFICATE, MIDDLE]), ("`A Root`",)),
    (tls, PROBE, failed(verify=23, error="certificate revoked"), ("certificate revoked",)),
    (tls, PROBE, failed(alert=42, asked=True), ("our certificate /run/secrets/c.pem", "bad_certificate", "alert 42")),
    (tls, PROBE, failed(alert=40, asked=True), ("client_certificate",)),
    (tls, PROBE, failed(alert=40), ("handshake_failure", "no cipher")),
    (tls, PROBE, failed(alert=112), ("does not know this name",)),
    (tls, PROBE, failed(alert=70, error="TLSV1_ALERT_PROTOCOL_VERSION"), ("no version of TLS in common",)),
    (tls, PROBE, failed(error="WRONG_VERSION_NUMBER"), ("not in TLS", "payments.ports")),
    (tls, PROBE, failed(error="timeout"), ("ends with silence",)),
    (tls, PROBE, failed(error="ECONNRESET"), ("ends with ECONNRESET",)),
    (certificate_ends, PROBE, shaken(chain=[CERTIFICATE, {**MIDDLE, "ends": AT + 9 * DAY}]),
     ("`A Middle`", "in 9 days", "signed by `A Root`")),
    (certificate_ends, PROBE, shaken(chain=[{**CERTIFICATE, "ends": AT + 29 * DAY}]), ("its own", "in 29 days")),
    (certificate_ends, "files/|run|secrets|c.pem/first/0/days", 9, ("secrets.files.client", "alert 45")),
    (certificate_ends, "files/|run|secrets|c.pem/first/0/days", -2, ("ended on",)),
    (unreachable, PROBE, shaken(stage="connect", error="ECONNREFUSED"), ("it refuses", "Connection refused")),
    (unreachable, PROBE, shaken(stage="connect", error="timeout"), ("no answer within 5 s",)),
    (unreachable, PROBE, shaken(stage="connect", error="EPERM"), ("hostguard audit",)),
    (unreachable, PROBE, shaken(stage="connect", error="EXYZ"), ("EXYZ",)),
    (unreachable, PROBE, shaken(handshake=0.4), ("the provider takes the time", "timeouts.connect", "250 ms")),
    (unreachable, PROBE, shaken(connect=0.3, round_trip=0.29), ("the network takes the time",)),
    (unreachable, PROBE, shaken(connect=1.3, sent_again=1), ("packets are lost",)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "at", "new", "says"), FAULTS, ids=[f"{f[0].RULE.id}-{n}" for n, f in enumerate(FAULTS)]
)
def test_a_fault_is_named(module: Any, at: str, new: Any, says: tuple[str, ...]) -> None:
    (found,) = of(module, at, new)
    host = diagnosis.HostDiagnosis("web1", ((module.RULE.id, found),), loaded=ASKED.loaded)
    text = " ".join(shown.table(Diagnosis("", ASKED, (host,)), width=10_000).split())
    for words in says:
        assert words in text, text


WELL: list[tuple[Any, str, Any]] = [
    (lookups, f"resolvers/10.0.0.4/{NAME}/addresses", []),  # the other has some
    (clock, "servers/10.0.0.3/offset", -0.9),
    (clock, "clock/status", 0x40),  # nobody keeps it, and it is right
    (stale_addresses, "connections/groups", [{**SYN, "to": THERE, "account": "shop"}]),  # reaches no name
    (stale_addresses, "connections/groups", [{**GROUP, "to": THERE, "state": "time-wait"}]),
    (ports, "connections/groups", [{**GROUP, "to": "127.0.0.1", "state": "time-wait", "count": 25000}]),  # reused
    (ports, SOCKSTAT, "TCP: inuse 1 orphan 0 tw 30000 alloc 3 mem 0\n"),
    (accept_queue, "queues/0/waiting", 127),
    (accept_queue, "queues/0/backlog", 0),  # nobody may wait: it is closing
    (accept_queue, f"texts/{accept_queue.NETSTAT.replace('/', '|')}", NETSTAT.replace("0 0 0", "0 9 9")),
    (held, "connections/groups", [SYN]),  # the name may lead there
    (held, "connections/groups", [{**SYN, "to": "127.0.0.1", "account": "shop"}]),
    (held, "connections/groups", [{**SYN, "to": "127.0.0.84", "port": 84, "account": "shop"}]),
    (held, "denials", [{"account": "envoy", "protocol": "tcp", "to": "203.0.113.5", "port": 443, "count": 3}]),
    (tls, PROBE, shaken(asked=True)),
    (tls, PROBE, shaken(stage="connect", error="timeout", chain=[])),
    (certificate_ends, PROBE, failed(verify=10, chain=[OVER])),
    (certificate_ends, "files/|etc|ssl|certs|ca-certificates.crt",
     {**FILE, "all": 140, "first": [{**CERTIFICATE, "days": -9}]}),
    (unreachable, PROBE, shaken(stage="resolve", error="EAI_AGAIN", connect=9.0)),
]  # fmt: skip


@pytest.mark.parametrize(("module", "at", "new"), WELL, ids=[f"{w[0].RULE.id}-{n}" for n, w in enumerate(WELL)])
def test_what_looks_like_it_is_none(module: Any, at: str, new: Any) -> None:
    assert of(module, at, new) == []


def test_all_resolvers_silent_are_told_each() -> None:
    nobody = {NAME: {"code": "silent", "addresses": [], "ttl": 0}}
    said = {"resolvers": {"10.0.0.2": nobody, "10.0.0.4": nobody}, "own": {"127.0.0.83": nobody}}
    found = findings(lookups.RULE, ASKED, said)
    assert [each.subject for each in found] == ["resolver 10.0.0.2", "resolver 10.0.0.4"]
    assert all("EAI_AGAIN" in each.means for each in found)


@pytest.mark.parametrize(
    ("code", "words"), [("NXDOMAIN", "NXDOMAIN from 10.0.0.2, 10.0.0.4"), ("NOERROR", "no address")]
)
def test_a_name_that_all_of_them_have_not_is_one_finding(code: str, words: str) -> None:
    nothing = {NAME: {"code": code, "addresses": [], "ttl": 0}}
    said = {"resolvers": {"10.0.0.2": nothing, "10.0.0.4": nothing}, "own": {"127.0.0.83": nothing}}
    (found,) = findings(lookups.RULE, ASKED, said)
    assert words in found.seen
    assert found.concerns == ("payments",)
    assert found.key == ("egress", "providers", "payments", "hosts")


def changed(module: Any, **more: Any) -> list[Finding]:
    """The findings of a host that says this to these requests, and to the others what is well."""
    requests = module.RULE.asks(ASKED)
    return findings(module.RULE, ASKED, {**{name: well(request) for name, request in requests.items()}, **more})


def test_an_open_connection_to_an_address_of_the_last_hour_is_no_finding() -> None:
    groups = {"groups": [{**GROUP, "to": THERE}], "left_out": 0}
    (name,) = (each for each in well(stale_addresses.RULE.asks(ASKED)["sets"]) if "4-NEW" in each)  # type: ignore[index]
    assert len(changed(stale_addresses, connections=groups)) == 1
    assert changed(stale_addresses, connections=groups, sets={**TRUE["stale-addresses"]["sets"], name: [THERE]}) == []


def test_ports_of_closed_connections_are_taken_again_where_the_kernel_does_it() -> None:
    groups = {"groups": [{**CLOSED, "count": 25000}], "left_out": 0}
    assert len(changed(ports, connections=groups)) == 1
    assert changed(ports, connections=groups, settings={**SETTINGS, ports.REUSE: "1\n"}) == []
    assert len(changed(ports, connections=groups, settings={**SETTINGS, ports.REUSE: "1\n", ports.STAMPS: "0\n"})) == 1


def test_a_port_is_told_of_once_by_its_queue_and_the_log() -> None:
    found = changed(accept_queue, queues=[{**LISTENER, "waiting": 128}], log=[f"{FLOODED} 8080. Sending cookies."] * 2)
    assert [each.where for each in found] == ["`ss -ltn sport = 8080`, columns Recv-Q and Send-Q"]


def test_a_host_without_a_process_was_not_seen() -> None:
    found = diagnosed(open_files.RULE, ASKED, {"files": {"counted": 0, "full": []}})
    assert found.unread == (("open-files", "no process was seen"),)


def test_a_server_that_answers_one_name_and_not_the_other_is_not_silent() -> None:
    of_ = about(egress={**DATA["egress"], "providers": {"payments": {"hosts": [NAME]}, "b": {"hosts": ["b.example"]}}},
                gateway=None)  # fmt: skip
    requests = lookups.RULE.asks(of_)
    assert not isinstance(requests, str)
    said = {name: well(request) for name, request in requests.items()}
    said["resolvers"]["10.0.0.4"] = {NAME: ANSWER, "b.example": NOTHING}
    assert findings(lookups.RULE, of_, said) == []


def test_a_clock_that_nobody_keeps_is_only_likely_wrong() -> None:
    of_ = about(egress={**DATA["egress"], "time_servers": []})
    (found,) = of(clock, "clock/status", 0x40, of_)
    assert found.sure == "likely"


def test_what_is_probed_is_what_the_policy_names_one_by_one_by_who_may() -> None:
    request = unreachable.RULE.asks(ASKED)
    assert not isinstance(request, str)
    to = [(each["host"], each["port"], each["account"], each["tls"]) for each in request["probes"]["to"]]
    assert to == [
        (NAME, 443, "envoy", True),
        ("203.0.113.5", 443, "envoy", False),
        ("10.0.0.8", 8200, "vault-agent", False),
    ]
    assert request["probes"]["to"][0]["certificate"] == "/run/secrets/c.pem"


def test_of_many_places_the_first_are_asked_for_and_the_others_are_said() -> None:
    cidrs = [f"192.0.2.{number}/32" for number in range(60)]
    of_ = about(egress={**DATA["egress"], "services": {"many": {"cidrs": cidrs, "ports": [443]}}})
    request = unreachable.RULE.asks(of_)
    assert not isinstance(request, str)
    assert len(request["probes"]["to"]) == 50
    found = diagnosed(unreachable.RULE, of_, {"probes": well(request["probes"])})
    assert found.unread == (("unreachable", "50 were asked for, and 12 places more were not: name a provider"),)


def test_a_host_without_a_journal_says_so() -> None:
    for module, name in ((held, "denials"), (accept_queue, "log")):
        told = {**TRUE[module.RULE.id], name: None}
        assert "no journal" in diagnosed(module.RULE, ASKED, told).unread[0][1]


def test_a_word_narrows_what_is_probed() -> None:
    request = unreachable.RULE.asks(about("vault"))
    assert not isinstance(request, str)
    assert [each["host"] for each in request["probes"]["to"]] == ["10.0.0.8"]


def test_without_probes_nothing_is_sent_and_that_is_said() -> None:
    of_ = Asked(ASKED.loaded, probes=False)
    sending = {"answers", "handshakes", "time-offsets"}
    for rule in RULES:
        requests = rule.asks(of_)
        if isinstance(requests, str):
            assert "--no-probe" in requests or rule is refused.RULE
        else:
            assert not sending & {each["collect"] for each in requests.values()}
    assert isinstance(tls.RULE.asks(of_), str)


TRUE: dict[str, dict[str, Any]] = {
    rule.id: {name: well(request) for name, request in rule.asks(about_which(rule)).items()}  # type: ignore[union-attr]
    for rule in RULES
}


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_an_odd_answer_is_read_or_is_not_and_is_told_in_words_that_print(rule: Any) -> None:
    count = 0
    for name in TRUE[rule.id]:
        for _, odd in hostile.mutations(TRUE[rule.id][name], 6):
            found = diagnosed(rule, about_which(rule), {**TRUE[rule.id], name: odd})
            text = shown.table(Diagnosis("", ASKED, (found,)), width=80)
            assert all(letter.isprintable() or letter == "\n" for letter in text), text
            count += 1
    assert count > 20


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_what_was_asked_and_is_not_told_was_not_read(rule: Any) -> None:
    for name, told in TRUE[rule.id].items():
        for node in [(), *((key,) for key in (told if isinstance(told, dict) else ()))]:
            if told and not node and isinstance(told, list):
                continue  # a host may have no listener
            if (
                rule.id in ("ports", "accept-queue", "stale-addresses")
                and node
                and name in ("settings", "texts", "cache files")
            ):
                continue  # a kernel may lack a file
            odd = hostile.without(told, node) if node else None
            found = diagnosed(rule, about_which(rule), {**TRUE[rule.id], name: odd})
            assert found.unread or found.findings, (name, node)


def test_a_host_that_is_asked_answers_all_of_it_in_words_that_fit() -> None:
    """The whole question, answered by this machine: whatever it is, the answer has the shape that it must have."""
    from hostguard.target import local

    bundle = diagnosis.compiler(Asked(asked().loaded, probes=False))(asked().loaded).bundle()
    began = time.monotonic()
    found = diagnosis.judge(asked(), "here", asked().loaded, Seen.of(bundle, local.read(bundle)))
    assert time.monotonic() - began < 60 * slowness()
    assert not [why for _, why in found.unread if "makes no sense" in why or "can't be judged" in why]
