"""The gateway in a rehearsal, by the real Envoy: it holds as compiled, and each attempt comes through where one thing
of it is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hostguard.attack.aim import OF_GATEWAY
from hostguard.attack.case import Holds
from hostguard.attack.cases import CASES
from hostguard.controls.gateway import instance
from hostguard.host.kinds import sysctl
from hostguard.rehearse.outcome import Outcome, Word
from tests.packets.test_rehearse import ids, rehearse, rules_of

TWO = Path(__file__).parent / "gateway.yml"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
TYPE = "type.googleapis.com/envoy."
pytestmark = [pytest.mark.needs("namespaces", "dnsmasq"), pytest.mark.alone]
Change = Callable[[dict[str, Any]], None]
Manager = Callable[[dict[str, Any]], None]


def cases(layer: str, *ways: str) -> set[str]:
    """Those that anything holds."""
    return {
        case.id
        for case in CASES
        if case.layer == layer and case.holds is not Holds.NOTHING and (not ways or case.way in ways)
    }


def tried(change: Change = lambda _: None) -> Outcome:
    return rehearse(change, TWO, layers=OF_GATEWAY)


def words(outcome: Outcome) -> dict[str, set[Word]]:
    found: dict[str, set[Word]] = {}
    for verdict in outcome.verdicts():
        found.setdefault(verdict.attempt.case.id or verdict.attempt.name, set()).add(verdict.word)
    return found


@pytest.mark.needs("root", "envoy")
def test_the_gateway_holds_and_its_users_are_served() -> None:
    outcome = tried()
    found = words(outcome)
    assert {name: found[name] for name in found if name.startswith("gateway.") or "rovider" in name} == {
        "provider payments by its name": {Word.ALLOWED},
        "provider letters by its name": {Word.ALLOWED},
        "provider payments through the gateway": {Word.ALLOWED},
        "provider letters through the gateway": {Word.ALLOWED},
        "a request to provider payments": {Word.ALLOWED},
        "a request to provider payments, by its socket": {Word.ALLOWED},
        "a request to provider letters": {Word.ALLOWED},
        **{id: {Word.HELD} for id in cases("gateway") | cases("requests")},
        "gateway.socket-root": {Word.NOT_HELD},
        "gateway.admin-root": {Word.NOT_HELD},
    }
    assert outcome.sound


def of_payments(change: Manager) -> Change:
    """Change the connection manager of the provider's port."""

    def changed(bundle: dict[str, Any]) -> None:
        (xds,) = (r for r in bundle["resources"] if r["kind"] == "xds")
        tree = json.loads(xds["listeners"])
        (listener,) = (each for each in tree["resources"] if each["name"] == "payments-port")
        change(listener["filter_chains"][0]["filters"][0])
        xds["listeners"] = json.dumps(tree)

    return changed


def typed(kind: str, **fields: Any) -> dict[str, Any]:
    return {"@type": TYPE + kind, **fields}


def passes_bytes_on(manager: dict[str, Any]) -> None:
    proxy = typed("extensions.filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="x", cluster="payments")
    manager |= {"name": "x", "typed_config": proxy}


def takes_connect(manager: dict[str, Any]) -> None:
    config = manager["typed_config"]
    (host,) = config["route_config"]["virtual_hosts"]
    route = {"cluster": "payments", "upgrade_configs": [{"upgrade_type": "CONNECT", "connect_config": {}}]}
    host["routes"].insert(0, {"match": {"connect_matcher": {}}, "route": route})
    config["upgrade_configs"] = [{"upgrade_type": "CONNECT"}]


def leading(manager: dict[str, Any]) -> list[dict[str, Any]]:
    """The routes that lead to a provider."""
    (host,) = manager["typed_config"]["route_config"]["virtual_hosts"]
    return [each["route"] for each in host["routes"] if "route" in each]


def routes_by_host(manager: dict[str, Any]) -> None:
    for route in leading(manager):
        del route["auto_host_rewrite"]


def leads_to_another(manager: dict[str, Any]) -> None:
    for route in leading(manager):
        route["cluster"] = "letters"


def takes_upgrades(manager: dict[str, Any]) -> None:
    manager["typed_config"]["upgrade_configs"] = [{"upgrade_type": "websocket"}]


def takes_long_heads(manager: dict[str, Any]) -> None:
    manager["typed_config"]["max_request_headers_kb"] = 200


@pytest.mark.needs("envoy")
@pytest.mark.parametrize(
    ("change", "come_through"),
    [
        (passes_bytes_on, cases("requests")),
        (takes_connect, {"gateway.connect", "gateway.connect-provider"}),
        (routes_by_host, {"gateway.absolute", "gateway.absolute-provider", "gateway.host", "gateway.two-hosts"}),
        (takes_upgrades, {"gateway.websocket"}),
        (takes_long_heads, {"gateway.long"}),
    ],
)
def test_a_listener_that_lets_through_is_seen(change: Manager, come_through: set[str]) -> None:
    assert ids(tried(of_payments(change))) - {""} == come_through


@pytest.mark.needs("envoy")
def test_a_listener_that_leads_to_another_provider_is_seen() -> None:
    assert {each.name for each in wrong_of(tried(of_payments(leads_to_another)))} >= {"a request to provider payments"}


def wrong_of(outcome: Outcome) -> list[Any]:
    return [verdict.attempt for verdict in outcome.verdicts() if verdict.word is Word.CUT_OFF]


def opens_folders(bundle: dict[str, Any]) -> None:
    (file,) = (r for r in bundle["resources"] if r["id"] == f"file:{instance.TMPFILES}")
    file["content"] = file["content"].replace(" 0700 ", " 0777 ").replace(" 2750 ", " 2777 ")
    (xds,) = (r for r in bundle["resources"] if r["kind"] == "xds")
    xds["listeners"] = xds["listeners"].replace('"mode": 432', '"mode": 438')
    (bootstrap,) = (r for r in bundle["resources"] if r["id"] == f"file:{instance.BOOTSTRAP}")
    bootstrap["content"] = bootstrap["content"].replace('"mode": 384', '"mode": 438')


def guards_no_port(bundle: dict[str, Any]) -> None:
    for _, rules in rules_of(bundle, "HOSTGUARD-GATEWAY"):
        rules.clear()


def guards_nothing(bundle: dict[str, Any]) -> None:
    """Answers to a container are no sanctioned ones either: egress holds them as well."""
    guards_no_port(bundle)
    for chain in ("HOSTGUARD-OUTPUT", "HOSTGUARD-INPUT"):
        for resource, rules in rules_of(bundle, chain):
            rules.clear()
            resource["policy"] = "ACCEPT" if resource["policy"] else None


def has_its_admin_on_a_port(bundle: dict[str, Any]) -> None:
    (xds,) = (r for r in bundle["resources"] if r["kind"] == "xds")
    tree = json.loads(xds["listeners"])
    proxy = typed("extensions.filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="x", cluster="admin")
    at = {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}
    chain = {"filters": [{"name": "x", "typed_config": proxy}]}
    listener = typed("config.listener.v3.Listener", name="x", address=at, filter_chains=[chain])
    tree["resources"].append(listener)
    xds["listeners"] = json.dumps(tree)


def lets_anybody_listen(bundle: dict[str, Any]) -> None:
    bundle["resources"].append(sysctl.resource("kernel.other", "net.ipv4.ip_unprivileged_port_start", "0", "equal"))


SOCKETS = cases("gateway", "unix") - {"gateway.admin-root", "gateway.socket-root"}
SQUATS = cases("gateway", "bind")
BESIDE = {case for case in SQUATS if "socket" in case}


@pytest.mark.needs("root", "envoy")
@pytest.mark.parametrize(
    ("change", "come_through"),
    [
        (guards_no_port, cases("gateway", "local") - {"gateway.port-routed"}),
        (guards_nothing, cases("gateway", "local")),
        (opens_folders, SOCKETS | BESIDE),
        (has_its_admin_on_a_port, {"gateway.admin-tcp"}),
        (lets_anybody_listen, SQUATS - BESIDE),
    ],
)
def test_a_door_that_is_open_is_seen(change: Change, come_through: set[str]) -> None:
    assert ids(tried(change)) == come_through


def said(*words: str, path: Path = TWO) -> tuple[int, Any]:
    command = [sys.executable, "-m", "hostguard", "rehearse", "-p", str(path), "--format", "json", *words]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": PATH},
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.skipif(os.access("/usr/bin/envoy", os.X_OK), reason="an Envoy is installed here")
def test_without_an_envoy_it_is_not_tried_and_not_passed() -> None:
    code, told = said()
    untried = {way["id"]: way["why"] for way in told["ways"] if way["outcome"] == "not_tried"}
    assert cases("requests") | cases("gateway", "unix", "bind", "admin") <= untried.keys()
    assert {untried[id] for id in cases("requests")} == {
        "no envoy is here: there is no /usr/bin/envoy, and none on PATH; name one by --program"
    }
    assert code == 3
    assert said("--partial-ok")[0] == 0


def test_a_program_that_is_no_envoy_is_told_in_its_own_words(tmp_path: Path) -> None:
    program = tmp_path / "envoy"
    program.write_text("#!/bin/sh\ncase $* in *validate*) ;; *) echo no such option >&2; exit 1 ;; esac\n")
    program.chmod(0o755)
    code, told = said("--program", str(program))
    assert code == 3
    assert {way.get("why") for way in told["ways"] if way["id"] in cases("requests")} == {
        "envoy did not start: no such option"
    }
