"""Each fault of a gateway made on a whole host, with the real Envoy between an application and a provider that has it:
the diagnosis names it, and nothing else. The last test prints who named what."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.policy.gateway import UNIT, XDS
from tests.gateway import certificates
from tests.lab import Lab
from tests.lab.network import BRIDGE, RESOLVER
from tests.lab.process import call
from tests.patience import until
from tests.programs import ENVOY
from tests.witness.confusion import confusion
from tests.witness.name_server import NameServer
from tests.witness.policy import PLACE

pytestmark = pytest.mark.needs("lab", "envoy")

HOST = "api.provider.com"
PROVIDER, ELSEWHERE = "9.9.9.4", "9.9.9.5"
"""Addresses of the world's own: names that lead to one for documentation are not believed."""
LOG = "/var/log/hostguard-gateway/access.log"
KEY = "/run/secrets/payments/new"
ROOM, LONG, SOON = 30, 90, 12
"""Connections of the gateway, and days of a certificate: a good one, and one that ends soon."""
LEAVES = {
    certificates.GOOD: ("ca", HOST, LONG),
    certificates.EXPIRED: ("ca", HOST, -1),
    certificates.WRONG_NAME: ("ca", "another.example", LONG),
    certificates.WRONG_CA: ("other-ca", HOST, LONG),
    "soon": ("ca", HOST, SOON),
}
POLICY: dict[str, Any] = {
    "version": 1,
    "capacity": {"peak_rps": 100, "p99": "1500ms"},
    "egress": {
        "proxy_user": "envoy",
        "resolvers": [RESOLVER],
        "resolver_users": ["envoy"],
        "providers": {"payments": {"hosts": [HOST]}},
        "inbound": {"ssh": {"from": ["10.77.0.0/24"], "ports": [22]}},
    },
    "gateway": {
        "program": "/usr/bin/envoy",
        "ca": "/etc/ssl/tests-ca.pem",
        "log": "all",
        "connections_max": ROOM,
        "providers": {
            "payments": {
                "users": ["shop"],
                "group": "shop",
                "timeouts": {"connect": "2s", "try": "6s", "total": "7s", "idle": "60s"},
                "outlier": {"ejection": "300s"},
                "breaker": {"requests": 6, "connections": 6, "pending": 3},
                "retry": {"tries": 2, "wait_max": "1s"},
                "credential": {"secret": "payments", "prefix": "Bearer "},
            }
        },
    },
    "limits": {"nofile": 16384},
    "platform": {"clock_sync": "off"},
    "secrets": {
        "owner": "vault-agent",
        "group": "envoy",
        "files": {"payments": {"new": KEY}},
    },
}
# So many requests in turn, or all at once; it says what they got, 0 for no answer.
PROGRAM = """
import http.client, socket, sys, threading
class Wire(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect("/run/hostguard-gateway/payments/http.sock")
got = []
def one():
    try:
        wire = Wire("payments")
        wire.request("POST", "/v1/pay", b"{}")
        answer = wire.getresponse()
        answer.read()
        got.append(answer.status)
    except OSError as error:
        got.append(0)
def at_once(number):
    threads = [threading.Thread(target=one) for _ in range(number)]
    for each in threads: each.start()
    for each in threads: each.join()
at_once(int(sys.argv[2])) if sys.argv[1] == "at-once" else [one() for _ in range(int(sys.argv[2]))]
print(*got)
"""
# Opens so many connections, says so, and keeps them.
CROWD = """
import socket, sys, time
kept = [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[1]))]
for each in kept: each.connect("/run/hostguard-gateway/payments/http.sock")
print("full", flush=True)
time.sleep(9999)
"""


class World:
    """The host with its gateway, the name server, and one provider at a time."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder = lab, folder
        for ca in ("ca", "other-ca"):
            certificates.authority(folder, ca, LONG)
        for name, (ca, host, days) in LEAVES.items():
            certificates.leaf(folder, name, ca, [host], days)
        for address in (PROVIDER, ELSEWHERE):
            lab.world.run(["ip", "address", "replace", f"{address}/32", "dev", BRIDGE])
        self.names = NameServer(lab, RESOLVER, folder)
        self.leads_to(PROVIDER)
        self.provider = self.start("none")
        self.host = lab.host("ill-gateway")
        call(["podman", "cp", str(ENVOY), f"{self.host.container}:/usr/bin/envoy"])
        self.host.run("chown root:root /usr/bin/envoy && chmod 755 /usr/bin/envoy; useradd --system --user-group shop")
        self.host.write("/etc/ssl/tests-ca.pem", (folder / "ca.pem").read_text())
        self.host.write(PLACE, yaml.safe_dump(POLICY))
        done = self.host.hostguard("apply", "--yes", "--confirm-within", "0")
        assert done.returncode == 0, done.stderr + done.stdout
        self.stores("key-one")

    def leads_to(self, address: str) -> None:
        self.names.answer({HOST: [address]}, ttl=3600)

    def start(self, fault: str, address: str = PROVIDER) -> Any:
        program = [sys.executable, "-m", "tests.witness.faulty", str(self.folder), address, fault]
        found = self.lab.world.start_program(program)
        assert found.stdout
        assert found.stdout.readline() == "ready\n"
        return found

    def stop(self) -> None:
        self.provider.kill()
        self.provider.wait()

    def stores(self, key: str) -> None:
        """As somebody who renames a key into its place."""
        self.host.run(f"printf %s '{key}' > {KEY}.beside && chmod 640 {KEY}.beside "
                      f"&& chown vault-agent:envoy {KEY}.beside && mv {KEY}.beside {KEY}")  # fmt: skip

    def anew(self, fault: str) -> None:
        """The provider has this fault, and the gateway begins again: with an empty log, and nothing counted or cut."""
        self.stop()
        if fault != "refuses":
            self.provider = self.start(fault)
        self.host.run(f"systemctl stop {UNIT}; : > {LOG}; systemctl start {UNIT}")
        until(lambda: HOST in self.admin("/clusters"), "the gateway knows the provider's address")

    def admin(self, target: str) -> str:
        program = "import sys; from hostguard.host.envoy_admin import ask; from hostguard.policy.gateway import ADMIN\n"
        program += "print(ask(ADMIN, sys.argv[1]))"
        return self.host.run(["python3", "-c", program, target], env=self.host.settings).stdout

    def asks(self, number: int, how: str = "in-turn") -> list[int]:
        """What an application gets, once the log tells of it."""
        program = ["runuser", "-u", "shop", "--", "python3", "-c", PROGRAM, how, str(number)]
        got = [int(each) for each in self.host.out(program).split()]
        answered = sum(1 for each in got if each)
        until(lambda: int(self.host.out(f"wc -l < {LOG}")) >= answered, "the log tells of each request", seconds=5)
        return got


Made = Callable[[World], AbstractContextManager[None]]


@dataclass(frozen=True)
class Fault:
    """`provider` is the fault of the world's (tests/witness/faulty.py), `requests` are sent, then `made` makes the
    fault of the host's own, if it is one. `rule` must name it, and `says` must stand in it: what a probe sees too is
    told by the probe's rule, with what the log says."""

    rule: str
    says: str
    provider: str = "none"
    requests: int = 3
    how: str = "in-turn"
    made: Made = lambda _: contextlib.nullcontext()
    arguments: tuple[str, ...] = ()


@contextlib.contextmanager
def without_a_key(world: World) -> Iterator[None]:
    world.stores("")
    try:
        until(lambda: 503 in world.asks(1), "the gateway notices")
        yield
    finally:
        world.stores("key-one")


@contextlib.contextmanager
def moved(world: World) -> Iterator[None]:
    """The name leads elsewhere, long before its time is over; only the host's resolver has noticed."""
    there = world.start("none", ELSEWHERE)
    world.leads_to(ELSEWHERE)
    world.host.run("systemctl restart hostguard-names")
    try:
        yield
    finally:
        world.leads_to(PROVIDER)
        world.host.run("systemctl restart hostguard-names")
        there.kill()
        there.wait()


@contextlib.contextmanager
def crowded(world: World) -> Iterator[None]:
    unit = ["systemd-run", "--quiet", "--collect", "--unit=crowd", "--uid=shop"]
    world.host.run([*unit, "--property=StandardOutput=file:/run/said", "python3", "-c", CROWD, str(ROOM)])
    try:
        until(lambda: world.host.run("test -s /run/said", check=False).returncode == 0, "all are open")
        assert world.asks(1) == [0]
        yield
    finally:
        world.host.run("systemctl stop crowd; rm -f /run/said")


@contextlib.contextmanager
def refused(world: World) -> Iterator[None]:
    """A file that Envoy takes no cluster of is renamed into its folder."""
    path, beside = f"{XDS}/cds.json", f"{XDS}/.beside"
    change = 's/connect_timeout/no_such_field/; s/version_info": "/&0/'
    # One rename alone: each wakes Envoy, and it counts what it refuses each time.
    world.host.run(f"cp -p {path} /root/cds.json && sed '{change}' {path} > {beside}")
    world.host.run(f"chown --reference={path} {beside} && chmod --reference={path} {beside} && mv {beside} {path}")
    try:
        said = re.compile("cds.update_rejected: [1-9]")
        until(lambda: said.search(world.admin("/stats?filter=cds")) is not None, "it is refused")
        yield
    finally:
        world.host.run(f"mv /root/cds.json {path}")


@contextlib.contextmanager
def stopped(world: World) -> Iterator[None]:
    world.host.run(f"systemctl stop {UNIT}")
    yield


NO_PROBE = ("--no-probe",)
FAULTS = {
    "closes connections in use": Fault("gateway-resets", "closed the connection under 1 request", "closes"),
    "certificate expired, by the log alone": Fault("gateway-tls", "has ended", "expired", arguments=NO_PROBE),
    "certificate expired": Fault("tls", "its certificate has ended", "expired"),
    "certificate of another name": Fault("tls", "certificate is of another name: another.example", "wrong-name"),
    "certificate of another CA": Fault("tls", "no authority of", "wrong-ca"),
    "wants a client's certificate": Fault("tls", "asks for a client's", "wants-a-certificate"),
    "certificate ends soon": Fault("gateway-certificates", f"ends in {SOON - 1} days", "ends-soon", arguments=NO_PROBE),
    "refuses connections": Fault("unreachable", "was refused", "refuses"),
    "answers no SYN": Fault("unreachable", "came to no connection", "silent", 2),
    "hangs": Fault("gateway-timeouts", "sent no byte", "hangs", 2),
    "sends a byte now and then": Fault("gateway-timeouts", "the body", "trickles", 2),
    "429": Fault("gateway-rate", "Retry-After 30 s", "limits"),
    "answers late": Fault("gateway-slow", "to the first byte", "late", 4),
    "503, and cut": Fault("gateway-cut", "is cut since", "fails", 7),
    "too many at once": Fault("gateway-breaker", "refused at once", "busy", 20, "at-once"),
    "401": Fault("gateway-keys", "refused the key", "refuses-the-key"),
    "no key": Fault("gateway-keys", "found no key", requests=0, made=without_a_key),
    "name moved": Fault("gateway-names", f"is at {ELSEWHERE}", made=moved),
    "full of connections": Fault("gateway-full", f"are open, of {ROOM}", made=crowded),
    "configuration refused": Fault("gateway-config", "cds.json", made=refused),
    "gateway stopped": Fault("gateway-down", "no Envoy answers", made=stopped),
}
NAMED: dict[str, list[str]] = {}
"""The rules that found something, by the fault that was made."""


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(lab, tmp_path_factory.mktemp("ill-gateway"))
    yield made
    made.stop()
    made.names.stop()


def diagnosed(world: World, *arguments: str) -> tuple[int, dict[str, Any]]:
    done = world.host.hostguard("diagnose", "--format", "json", *arguments)
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["hosts"][0]
    return done.returncode, found


def test_a_gateway_without_a_fault_has_no_finding(world: World) -> None:
    world.anew("none")
    assert world.asks(3) == [200, 200, 200]
    code, found = diagnosed(world)
    NAMED["none"] = [each["rule"] for each in found["findings"]]
    assert (found["findings"], found["unread"], code) == ([], [], 0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_no_other(world: World, name: str) -> None:
    fault = FAULTS[name]
    world.anew(fault.provider)
    got = world.asks(fault.requests, fault.how) if fault.requests else []
    with fault.made(world):
        code, found = diagnosed(world, *fault.arguments)
    NAMED[name] = [each["rule"] for each in found["findings"]]
    assert NAMED[name] == [fault.rule], (got, found["findings"])
    assert (found["unread"], code) == ([], 1)
    seen = [each["seen"] for each in found["findings"] if each["rule"] == fault.rule]
    assert any(fault.says in each for each in seen), seen


def test_a_gateway_that_is_well_again_has_no_finding(world: World) -> None:
    world.anew("none")
    world.asks(3)
    code, found = diagnosed(world)
    NAMED["none, after all of them"] = [each["rule"] for each in found["findings"]]
    assert (found["findings"], code) == ([], 0)


def test_the_confusion_table(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(confusion(NAMED))
    for name, found in NAMED.items():
        assert found == ([FAULTS[name].rule] if name in FAULTS else []), name
