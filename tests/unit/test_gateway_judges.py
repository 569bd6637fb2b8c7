"""What judges make of a gateway, by evidence made by hand: what passes, what fails, and what is no answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from hostguard.control import Verdict
from hostguard.controls.gateway import (
    CONTROLS,
    admin,
    breaker,
    certificates,
    limits,
    ports,
    program,
    runtime,
    sandbox,
    verification,
)
from hostguard.policy.gateway import RUN, Credential, Gateway, OAuth
from hostguard.policy.keys import Place
from hostguard.status import Severity
from tests.unit import a_dump
from tests.unit.a_dump import changed, cluster, dump, manager
from tests.unit.a_gateway import GATEWAY, UPSTREAM

FOREIGN = replace(GATEWAY, manage=False, admin="/run/envoy/admin.sock")
UID = 990
ACCOUNTS = {"users": {"envoy": UID}, "groups": {"shop": 7}}
SOCKET = "transport_socket.typed_config"
COMMON = SOCKET + ".common_tls_context"


def told(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {"envoy": {"config_dump": tree}}


def of_cluster(judges: Callable[[Gateway, Mapping[str, Any]], Verdict], *clusters: dict[str, Any]) -> Verdict:
    return judges(GATEWAY, told(dump(*clusters)))


# verification


def inline(**more: Any) -> dict[str, Any]:
    """A cluster that says in place what it checks."""
    return changed(cluster(), COMMON, {"validation_context": {"trusted_ca": {"inline_string": ""}, **more}})


def by_name(matcher: dict[str, Any]) -> dict[str, Any]:
    names = [{"matcher": matcher}]
    return changed(inline(match_typed_subject_alt_names=names), SOCKET + ".auto_sni_san_validation")


VERIFIED = {
    "by SDS, and the name of the SNI": cluster(),
    "in place": inline(),
    "a name that is written down": by_name({"exact": "api.provider.com"}),
    "one of a provider's names": by_name({"suffix": ".provider.com"}),
    "a pin alone": changed(cluster(), COMMON, {"validation_context": {"verify_certificate_spki": ""}}),
    "the system's authorities": changed(cluster(), COMMON, {"validation_context": {"system_root_certs": ""}}),
    "half by SDS": changed(cluster(), COMMON, {"combined_validation_context": {
        "default_validation_context": {}, "validation_context_sds_secret_config": {"name": "trust"}}}),
    "within a PROXY protocol": {**cluster(), "transport_socket": {"typed_config": {
        "@type": "a.ProxyProtocolUpstreamTransport", "transport_socket": cluster()["transport_socket"]}}},
    "over QUIC": {**cluster(), "transport_socket": {"typed_config": {
        "@type": "a.QuicUpstreamTransport",
        "upstream_tls_context": cluster()["transport_socket"]["typed_config"]}}},
    "with Envoy's own least version": changed(cluster(), COMMON + ".tls_params"),
}  # fmt: skip
UNVERIFIED = {
    "the article's: no check at all": (changed(cluster(), COMMON, {}), "checks no CA"),
    "no common_tls_context": (changed(cluster(), COMMON), "checks no CA"),
    "a CA alone": (changed(inline(), SOCKET + ".auto_sni_san_validation"), "checks no name"),
    "SAN without CA": (changed(cluster(), COMMON, {"validation_context": {}}), "checks no CA"),
    "any name": (by_name({"safe_regex": {"regex": ".*"}}), "takes any name"),
    "an empty suffix": (by_name({"suffix": ""}), "takes any name"),
    "a regular expression that nobody can read": (by_name({"safe_regex": {"regex": "("}}), "takes any name"),
    "untrusted": (inline(trust_chain_verification="ACCEPT_UNTRUSTED"), "nobody trusts"),
    "another validator": (inline(custom_validator_config=""), "validator of which nothing is known"),
    "no TLS": (changed(cluster(), "transport_socket"), "speaks no TLS"),
    "TLS 1.1": (changed(cluster(), COMMON + ".tls_params.tls_minimum_protocol_version", "TLSv1_1"), "takes TLS 1.1"),
    "a CA that was not read": (changed(cluster(), COMMON, {"validation_context_sds_secret_config": {"name": "x"}}),
                               "has not read its CA"),
    "one of several sockets": ({**cluster(), "transport_socket_matches": [
        {"transport_socket": {"typed_config": {"@type": "a.RawBuffer"}}}]}, "speaks no TLS"),
    "a transport that is not known": ({**cluster(), "transport_socket": {"typed_config": {"@type": "a.Alts"}}},
                                      "of which nothing is known"),
}  # fmt: skip


@pytest.mark.parametrize("tree", VERIFIED.values(), ids=VERIFIED)
def test_a_provider_that_is_verified(tree: dict[str, Any]) -> None:
    assert of_cluster(verification.judges, tree).status == "pass"


@pytest.mark.parametrize(("tree", "words"), UNVERIFIED.values(), ids=UNVERIFIED)
def test_a_provider_that_is_not(tree: dict[str, Any], words: str) -> None:
    found = of_cluster(verification.judges, cluster(), {**tree, "name": "other"})
    assert (found.status, words in found.actual, "payments" in found.actual) == ("fail", True, False), found


def test_envoy_s_own_least_version_is_too_old_for_a_policy_that_asks_for_1_3() -> None:
    strict = replace(GATEWAY, tls=replace(GATEWAY.tls, min="1.3"))
    assert verification.judges(strict, told(dump(changed(cluster(), COMMON + ".tls_params")))).status == "fail"


def test_a_cluster_that_stays_on_the_host_needs_no_certificate() -> None:
    here = {"name": "here", "load_assignment": {"endpoints": [{"lb_endpoints": [a_dump.endpoint("127.0.0.1")]}]}}
    assert of_cluster(verification.judges, cluster(), here).status == "pass"
    for unknown in ({"name": "by EDS"}, changed(here, "load_assignment.endpoints.0.lb_endpoints.0",
                                                a_dump.endpoint("192.0.2.1"))):  # fmt: skip
        assert of_cluster(verification.judges, cluster(), unknown).status == "fail"


# The breaker.


def two() -> dict[str, Any]:
    return changed(cluster(), "load_assignment.endpoints.0.lb_endpoints", [a_dump.endpoint("192.0.2.1")] * 2)


NEVER = {
    "no outlier_detection": (changed(cluster(), "outlier_detection"), "outlier_detection"),
    "the article's: Envoy's own panic threshold": (changed(cluster(), "common_lb_config"), "fewer than 50 %"),
    "a panic threshold": (changed(cluster(), "common_lb_config.healthy_panic_threshold.value", 20), "fewer than 20 %"),
    "failures that are not heeded": (
        changed(cluster(), "outlier_detection", {"enforcing_consecutive_5xx": 0}), "heeds none"),
    "no limits": (changed(cluster(), "circuit_breakers"), "circuit_breakers"),
    "a tenth of one, which is Envoy's own": (changed(cluster(), "outlier_detection", {}), "which is none of 1"),
    "a third of two": (changed(two(), "outlier_detection.max_ejection_percent", 33), "which is none of 2"),
}  # fmt: skip


@pytest.mark.parametrize(("tree", "words"), NEVER.values(), ids=NEVER)
def test_a_breaker_that_never_trips(tree: dict[str, Any], words: str) -> None:
    found = of_cluster(breaker.judges, tree)
    assert (found.status, words in found.actual) == ("fail", True), found


def test_a_breaker_that_trips() -> None:
    assert of_cluster(breaker.judges, cluster()).status == "pass"
    # A number that is 0 has no key in Envoy's JSON.
    silent = changed(cluster(), "common_lb_config.healthy_panic_threshold.value")
    half = changed(two(), "outlier_detection.max_ejection_percent", 50)
    assert [of_cluster(breaker.judges, each).status for each in (silent, half)] == ["pass", "pass"]


# limits


def with_route(**route: Any) -> list[dict[str, Any]]:
    return [changed(manager(), "route_config.virtual_hosts.0.routes.0.route", {"cluster": "payments", **route})]


@pytest.mark.parametrize(
    ("managers", "words"),
    [
        (with_route(timeout="0s"), "waits for ever"),
        (with_route(timeout="3600s"), "waits for 3600 s"),
        ([changed(manager(), "http_filters", [])], "bodies of any length"),
        ([], "no route"),
    ],
)
def test_a_request_without_an_end(managers: list[dict[str, Any]], words: str) -> None:
    found = limits.judges(GATEWAY, told(dump(managers=managers)))
    assert (found.status, words in found.actual) == ("fail", True), found


def test_requests_that_end() -> None:
    buffered = changed(changed(manager(), "http_filters", []), "route_config.virtual_hosts.0.routes.0",
                       {"route": {"cluster": "payments"}, "request_body_buffer_limit": 1})  # fmt: skip
    for managers in ([manager()], with_route(), [buffered]):
        assert limits.judges(GATEWAY, told(dump(managers=managers))).status == "pass"
    elsewhere = with_route(cluster="admin", timeout="0s")
    assert limits.judges(GATEWAY, told(dump(managers=[manager(), *elsewhere]))).status == "pass", "it stays here"
    assert limits.judges(GATEWAY, told(dump(monitors=()))).status == "fail"


# admin


def asked_admin(g: Gateway = GATEWAY, **more: Any) -> dict[str, Any]:
    folder = g.admin.rpartition("/")[0]
    entry = {"link": False, "leads_out": "", "more": False, "uid": UID, "gid": 0}
    places = {folder: {**entry, "path": folder, "folder": True, "mode": 0o700},
              g.admin: {**entry, "path": g.admin, "folder": False, "mode": 0o600}}  # fmt: skip
    return {**told(dump()), "places": places, "accounts": ACCOUNTS, "listeners": tables((84, UID)), **more}


def tables(*listening: tuple[int, int]) -> dict[str, Any]:
    row = "  0: 5400007F:{:04X} 00000000:0000 0A 00000000:00000000 00:00000000 00000000 {:5} 0 1 1 0 100 0 0 10 0\n"
    return {"tcp": "head\n" + "".join(row.format(*each) for each in listening), "tcp6": "head\n", "udp": "", "udp6": ""}


def loose(path: str, **more: Any) -> dict[str, Any]:
    places = asked_admin()["places"]
    return {"places": {**places, path: {**places[path], **more}}}


FOLDER = GATEWAY.admin.rpartition("/")[0]
TCP = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}, "allow_paths": [{"exact": "/a"}]}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (told(dump(admin=TCP)), "127.0.0.1:9901"),
        (told(dump(admin={"address": {"pipe": {}}})), "`allow_paths` is left out"),
        (told(dump(admin={"allow_paths": [{"prefix": "/"}]})), "/quitquitquit"),
        (told(dump(admin={"allow_paths": [{"exact": "/logging"}]})), "lets /logging through"),
        (loose(GATEWAY.admin, mode=0o660), "open to others (0660)"),
        (loose(GATEWAY.admin, uid=6003), "the account 6003's"),
        (loose(FOLDER, mode=0o755), "open to others (0755)"),
        ({"places": {FOLDER: None, GATEWAY.admin: None}}, "is not there"),
        ({"listeners": tables((84, UID), (9901, UID))}, "port 9901"),
    ],
)
def test_an_admin_that_others_reach(more: dict[str, Any], words: str) -> None:
    found = admin.judges(GATEWAY, asked_admin(**more))
    assert (found.status, words in found.actual) == ("fail", True), found


def test_an_admin_that_is_its_account_s_alone() -> None:
    assert admin.judges(GATEWAY, asked_admin()).status == "pass"
    # Of somebody else's Envoy neither the folder nor its other ports are ours to judge.
    said = asked_admin(FOREIGN, listeners=tables((9999, UID)))
    said["places"]["/run/envoy"]["mode"] = 0o755
    assert admin.judges(FOREIGN, said).status == "pass"


# ports and sockets


@pytest.mark.parametrize(
    ("first", "listening", "status", "words"),
    [
        ("1024\n", [(84, UID)], "pass", ""),
        ("1024\n", [(84, UID), (84, UID)], "pass", ""),  # a socket for each worker
        ("84\n", [(84, UID)], "fail", "free for any account"),
        ("1024\n", [], "fail", "nobody listens"),
        ("1024\n", [(84, 0)], "fail", "the account 0 listens"),
        ("1024\n", [(84, UID), (84, 0)], "fail", "the account 0 listens"),
    ],
)
def test_ports_are_held(first: str, listening: list[tuple[int, int]], status: str, words: str) -> None:
    said = {"first": first, "listeners": tables(*listening), "accounts": ACCOUNTS}
    found = ports.judges_ports(GATEWAY, said)
    assert (found.status, words in found.actual) == (status, True), found
    assert ports.judges_ports(FOREIGN, said).status == "not_applicable"


def asked_sockets(
    answered: list[str] | None = None,
    top: int = 0o755,
    shadowed: list[str] | None = None,
    shown: str | None = "1:2",
    **more: Any,
) -> dict[str, Any]:
    folder = f"{RUN}/payments"
    names = {f"{folder}/.http.sock": {"inode": "1:2"}, f"{folder}/http.sock": {"inode": shown} if shown else None}
    shadow = {f"{folder}/http.sock": shadowed} if shadowed else {}
    entry = {"link": False, "leads_out": "", "more": False, "folder": True, "uid": UID, "gid": 7, "mode": 0o2750}
    return {
        "places": {RUN: {**entry, "path": RUN, "mode": top}, folder: {**entry, "path": folder, **more}, **names},
        "answering": {f"{folder}/.http.sock": ["envoy"] if answered is None else answered, **shadow},
        "accounts": ACCOUNTS,
    }


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (asked_sockets(mode=0o755), "mode 0755"),
        (asked_sockets(gid=8), "990:8's"),
        (asked_sockets(uid=0), "0:7's"),
        (asked_sockets(folder=False), "is not there"),
        (asked_sockets(["nobody"]), "answered by nobody, not"),
        (asked_sockets([]), "answered by nobody"),
        (asked_sockets(["envoy", "root"]), "envoy and root"),
        (asked_sockets(shadowed=["root"]), "http.sock is answered by envoy and root"),
        (asked_sockets(top=0o777), "in the place of ours"),
        (asked_sockets(shown=None), "http.sock is not the socket that envoy answers at"),
        (asked_sockets(shown="1:3"), "http.sock is not the socket that envoy answers at"),
    ],
)
def test_a_socket_that_others_reach(said: dict[str, Any], words: str) -> None:
    found = ports.judges_sockets(GATEWAY, said)
    assert (found.status, words in found.actual) == ("fail", True), found


def test_a_socket_that_its_group_alone_reaches() -> None:
    assert ports.judges_sockets(GATEWAY, asked_sockets()).status == "pass"
    assert ports.judges_sockets(replace(GATEWAY, upstreams=(replace(UPSTREAM, group=None),)),
                                asked_sockets(mode=0)).status == "pass"  # fmt: skip


# program and sandbox


VERSION = "/usr/bin/envoy  version: 0000e0711a/1.40.0/Clean/RELEASE/BoringSSL"
PROGRAM = {"there": True, "open_to": [], "sha256": "a" * 64, "version": VERSION,
           "running": [{"pid": 9, "exe": "/usr/bin/envoy", "same": True}]}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"there": False}, "installs no Envoy"),
        ({"open_to": ["/usr/bin"], "version": ""}, "others than root may change /usr/bin"),
        ({"sha256": "b" * 64}, "SHA-256 is bbb"),
        ({"version": VERSION.replace("1.40.0", "1.9.1")}, "it is Envoy 1.9.1"),
        ({"version": "a wrapper"}, "does not say that it is an Envoy"),
        ({"running": []}, "nobody answers"),
        ({"running": [{"pid": 9, "exe": "/opt/envoy", "same": False}]}, "process 9 runs /opt/envoy"),
        ({"running": [{"pid": 9, "exe": "/usr/bin/envoy (deleted)", "same": False}]}, "replaced since"),
    ],
)
def test_a_program_that_is_another(more: dict[str, Any], words: str) -> None:
    found = program.judges(replace(GATEWAY, sha256="a" * 64), {"program": {**PROGRAM, **more}})
    assert (found.status, words in found.actual) == ("fail", True), found


def test_the_program_that_the_policy_names() -> None:
    assert program.judges(GATEWAY, {"program": PROGRAM}).status == "pass"
    assert program.judges(replace(GATEWAY, sha256="a" * 64), {"program": PROGRAM}).status == "pass"


PROCESS = {"pid": 9, "uid": UID, "heap": 70 << 20, "files": 100, "files_most": 65536, "no_new_privileges": True,
           "filtered": True, "capabilities": 1 << 10, "read_only": True, "dumps": False}  # fmt: skip


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"uid": 0}, "acts as the account 0"),
        ({"capabilities": 1 << 10 | 1 << 13}, "more capabilities"),
        ({"no_new_privileges": False}, "may gain privileges"),
        ({"filtered": False}, "may call all of the kernel"),
        ({"read_only": False}, "may write the host's files"),
        ({"dumps": True}, "leaves its memory"),
    ],
)
def test_a_process_that_may_do_more(more: dict[str, Any], words: str) -> None:
    found = sandbox.judges(GATEWAY, {"processes": [PROCESS, {**PROCESS, **more}], "accounts": ACCOUNTS})
    assert (found.status, words in found.actual) == ("fail", True), found


def test_a_process_that_may_do_little() -> None:
    said = {"processes": [{**PROCESS, "capabilities": 0}, PROCESS], "accounts": ACCOUNTS}
    assert sandbox.judges(GATEWAY, said).status == "pass"
    assert sandbox.judges(GATEWAY, {"processes": [], "accounts": ACCOUNTS}).status == "fail"
    assert sandbox.judges(FOREIGN, said).status == "not_applicable"


# certificates


def ends(own: int = 90, last: int = 3000, shown: int = 60) -> Verdict:
    certs = {"certificates": [{"cert_chain": [{"path": "c.pem", "days_until_expiration": str(own)}]}, {}]}
    said = {"envoy": {"certs": certs}, "authorities": {"all": 2, "days": [-5, last]}, "shown": {"payments": shown}}
    return certificates.judges(GATEWAY, said)


def test_certificates_that_last() -> None:
    assert ends().status == "pass", "of a bundle some always end"


@pytest.mark.parametrize(
    ("which", "words"), [("own", "client certificate c.pem"), ("last", "last authority"), ("shown", "of payments")]
)
def test_a_certificate_that_ends(which: str, words: str) -> None:
    grave, early, gone = (ends(**{which: days}) for days in (13, 29, -1))
    assert {grave.status, early.status, gone.status} == {"fail"}
    assert all(words in each.actual for each in (grave, early, gone))
    assert (grave.severity, early.severity, gone.severity) == (None, Severity.LOW, None)


def test_a_client_certificate_that_is_told_for_every_cluster_is_named_once() -> None:
    pem = "/run/secrets/card/pem"
    shown = replace(UPSTREAM, client_certificate=Place("card", certificate=pem, key=pem))
    chain = {"cert_chain": [{"path": "<inline>", "days_until_expiration": "9"}]}
    said = {"envoy": {"certs": {"certificates": [chain, chain]}}, "authorities": {"all": 1, "days": [99]},
            "shown": {"payments": 60}}  # fmt: skip
    found = certificates.judges(replace(GATEWAY, upstreams=(shown,)), said)
    assert found.actual == "the client certificate card ends in 9 days"


def test_a_provider_that_nobody_asked_yet_is_named_and_fails_nothing() -> None:
    said = {"envoy": {"certs": {"certificates": []}}, "authorities": {"all": 1, "days": [99]}, "shown": {}}
    found = certificates.judges(GATEWAY, said)
    assert (found.status, "payments" in found.actual) == ("pass", True)
    empty = {**said, "authorities": {"all": 0, "days": []}}
    assert certificates.judges(GATEWAY, empty).status == "fail"


# what runs

RUNNING = """\
payments::default_priority::max_connections::100
payments::default_priority::max_requests::100
payments::192.0.2.7:443::cx_active::{cx}
payments::192.0.2.7:443::rq_active::{rq}
payments::192.0.2.7:443::hostname::api.provider.com
payments::[2001:db8::7]:443::cx_active::0
payments::[2001:db8::7]:443::hostname::eu.api.provider.com
admin::/run/admin.sock::cx_active::1
"""


def running(cx: int = 1, rq: int = 1) -> dict[str, Any]:
    return {"envoy": {"clusters": RUNNING.format(cx=cx, rq=rq)}}


def led(first: list[str], second: list[str]) -> dict[str, Any]:
    names = ("api.provider.com", "eu.api.provider.com")
    found = {name: {"addresses": each, "error": "" if each else "silent"}
             for name, each in zip(names, (first, second), strict=True)}  # fmt: skip
    return {"lookups": found, **running()}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (led(["192.0.2.7"], ["2001:db8::7"]), "pass"),
        (led(["192.0.2.7", "192.0.2.8"], ["2001:db8::7"]), "pass"),
        (led(["192.0.2.8"], ["2001:db8::7"]), "fail"),
        (led(["192.0.2.7"], []), "unknown"),
        ({**led(["192.0.2.7"], ["2001:db8::7"]), "envoy": {"clusters": "admin::/x::cx_active::1\n"}}, "fail"),
    ],
)
def test_a_name_that_moved(said: dict[str, Any], status: str) -> None:
    assert runtime.judges_resolution(GATEWAY, said).status == status


def test_a_name_that_moved_for_one_of_two_clusters() -> None:
    stale = "payments-old::192.0.2.9:443::hostname::api.provider.com\n"
    said = led(["192.0.2.7"], ["2001:db8::7"])
    said["envoy"] = {"clusters": said["envoy"]["clusters"] + stale}
    found = runtime.judges_resolution(GATEWAY, said)
    assert (found.status, "to 192.0.2.9, and it is at 192.0.2.7" in found.actual) == ("fail", True)


def test_the_name_of_a_token_server_is_looked_up_too() -> None:
    oauth = OAuth("login.provider.com", 443, "https://login.provider.com/token", "shop", ())
    credential = Credential(Place("p", new="/run/secrets/p/new"), "Authorization", "", oauth)
    up = replace(UPSTREAM, credential=credential)
    asked = runtime.asks_of_resolution(replace(GATEWAY, upstreams=(up,)))
    assert asked["lookups"]["names"][-1] == "login.provider.com"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (running(cx=80), "80 connections"),
        (running(rq=80), "80 requests"),
        ({"processes": [{**PROCESS, "heap": GATEWAY.heap_max}]}, "heap"),
        ({"processes": [{**PROCESS, "files": 60000}]}, "open files"),
        ({"processes": []}, "nobody answers"),
    ],
)
def test_a_limit_that_is_near(said: dict[str, Any], words: str) -> None:
    found = runtime.judges_capacity(GATEWAY, {**running(), "processes": [PROCESS], **said})
    assert (found.status, words in found.actual) == ("fail", True), found


def test_room_for_a_burst() -> None:
    assert runtime.judges_capacity(GATEWAY, {**running(79, 79), "processes": [PROCESS]}).status == "pass"


# what is no answer


@pytest.mark.parametrize("judges", [verification.judges, breaker.judges, limits.judges, admin.judges])
@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"configs": []},
        {"configs": [{}]},
        {"configs": [{"@type": "a.Other"}]},
        {"configs": [{"@type": "a.ClustersConfigDump", "static_clusters": [{}]}]},
    ],
)
def test_what_is_no_configuration_passes_nothing(judges: Callable[..., Verdict], tree: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):  # the verdict is `unknown` then
        judges(GATEWAY, asked_admin(**told(tree)))


@pytest.mark.parametrize("text", ["", "no healthy upstream\n", "{}"])
def test_what_is_no_list_of_clusters_passes_nothing(text: str) -> None:
    said = {**led(["192.0.2.7"], ["2001:db8::7"]), "envoy": {"clusters": text}, "processes": [PROCESS]}
    for judges in (runtime.judges_capacity, runtime.judges_resolution):
        with pytest.raises(ValueError, match="no cluster"):
            judges(GATEWAY, said)


def test_a_configuration_without_a_way_out_passes_nothing() -> None:
    alone = dump()
    alone["configs"][1] = {"@type": "a.ClustersConfigDump"}
    for judges in (verification.judges, breaker.judges, limits.judges):
        assert judges(GATEWAY, told(alone)).status == "fail"


def test_each_control_is_of_the_area() -> None:
    assert {control.area for control in CONTROLS} == {"gateway"}
