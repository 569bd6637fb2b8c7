"""Two gateways behind one HAProxy, as the role's README has it: hosts that change one after another while clients of
another host go on."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.controls.gateway.envoy.route import READY
from tests.gateway import certificates
from tests.lab import Host, Lab, image
from tests.lab.fleet import SSH, Fleet
from tests.lab.network import BRIDGE, ENEMY, MANAGEMENT, RESOLVER
from tests.lab.process import call
from tests.patience import answer, until
from tests.programs import ENVOY
from tests.witness import playbook
from tests.witness.name_server import NameServer
from tests.witness.test_fleet import states

pytestmark = pytest.mark.needs("lab", "envoy")

ROLE = Path(__file__).parents[2] / "roles" / "gateway_balancer"
RECIPE = Path(__file__).parent / "haproxy" / "Containerfile"
TRAFFIC = [sys.executable, "-m", "tests.witness.haproxy.traffic"]
EDGES, BALANCER = ("gw1.example.org", "gw2.example.org"), "balancer.example.org"
CLIENT, COLLEAGUE, STRANGER = "shop.example.org", "mail.example.org", "stranger"
PORT = 8443
KEPT = 10
"""More than clients have under way and connections that the balancer has kept for them, with four at once."""
PROVIDER = "9.9.9.1"
"""An address of the world's own: names that lead to one for documentation are not believed."""
ADMIN = "/run/haproxy/admin.sock"


def example() -> dict[str, str]:
    """The files that the README shows, by name."""
    text = (ROLE / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^`([a-z]+\.yml)`[^\n]*\n\n```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return dict(found)


@dataclass
class Got:
    """What clients were told, and how often each request reached the provider."""

    statuses: dict[str, str] = field(default_factory=dict)
    arrived: Counter[str] = field(default_factory=Counter)

    @property
    def lost(self) -> dict[str, str]:
        return {path: status for path, status in self.statuses.items() if status != "200"}

    @property
    def unlike(self) -> dict[str, int]:
        """What was answered with 200 and did not arrive once."""
        good = [path for path, status in self.statuses.items() if status == "200"]
        return {path: self.arrived[path] for path in good if self.arrived[path] != 1}


class World:
    """The fleet of the example, its clients, and its provider."""

    def __init__(self, lab: Lab, folder: Path, suite: str) -> None:
        self.lab, self.folder = lab, folder
        self.fleet = Fleet(lab, folder, [*EDGES, BALANCER], suite=suite, made_of=image.grown("haproxy", RECIPE, suite))
        self.hosts = self.fleet.hosts
        self._certificates()
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(self._furnish, self.hosts))
        lab.world.run(["ip", "address", "replace", f"{PROVIDER}/32", "dev", BRIDGE])
        self.names = NameServer(lab, RESOLVER, folder)
        self.names.answer({"api.provider.com": [PROVIDER]}, ttl=60)
        self._example()

    def _certificates(self) -> None:
        for each in ("ca", "other-ca"):
            certificates.authority(self.folder, each)
        certificates.leaf(self.folder, "good", "ca", ["api.provider.com"])
        for each in (*EDGES, BALANCER, CLIENT, COLLEAGUE):
            certificates.leaf(self.folder, each, "ca", [each], subject=each)
        certificates.leaf(self.folder, STRANGER, "other-ca", [CLIENT], subject=CLIENT)

    def _furnish(self, name: str) -> None:
        host, authority = self.hosts[name], (self.folder / "ca.pem").read_text()
        host.write("/etc/haproxy/ca.pem", authority)
        own = "".join((self.folder / f"{name}.{kind}").read_text() for kind in ("pem", "key"))
        host.write("/etc/haproxy/own.pem", own, mode="600")
        if name in EDGES:
            call(["podman", "cp", str(ENVOY), f"{host.container}:/usr/bin/envoy"])
            host.run("chown root:root /usr/bin/envoy && chmod 755 /usr/bin/envoy")
            host.write("/etc/ssl/certs/ca-certificates.crt", authority)

    def _example(self) -> None:
        here = dict(zip(("10.77.0.11", "10.77.0.12", "10.77.0.13"), (h.address.ipv4 for h in self.hosts.values()),
                        strict=True))  # fmt: skip
        files = {name: re.sub(r"10\.77\.0\.1[123]", lambda found: here[found[0]], text)
                 for name, text in example().items()}  # fmt: skip
        self.inventory: dict[str, Any] = yaml.safe_load(files["inventory.yml"])
        self.inventory["all"]["vars"] |= {
            "ansible_ssh_private_key_file": str(self.fleet.key),
            "ansible_ssh_common_args": " ".join(SSH),
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        (self.folder / "hostguard.yml").write_text(files["hostguard.yml"])
        (self.folder / "site.yml").write_text(files["site.yml"])
        self.gateways["hostguard_policy"]["gateway"] |= {"drain": "2s"}
        # A request that is slow is no lost one.
        slow = {"connect": "5s", "try": "15s", "total": "60s"}
        self.gateways["hostguard_policy"]["gateway"]["providers"]["payments"]["timeouts"] = slow
        # The firewall lets one more in than HAProxy does.
        self.balancers["hostguard_balancer_services"][0]["from"] = [f"{MANAGEMENT}/32"]
        inbound = self.balancers["hostguard_policy"]["egress"]["inbound"]
        inbound["clients"]["from"] = [f"{MANAGEMENT}/32", f"{ENEMY}/32"]

    @property
    def gateways(self) -> dict[str, Any]:
        return self._of("gateways")

    @property
    def balancers(self) -> dict[str, Any]:
        return self._of("balancers")

    def _of(self, group: str) -> dict[str, Any]:
        found: dict[str, Any] = self.inventory["all"]["children"][group]["vars"]
        return found

    def play(self, **variables: Any) -> str:
        """The role on every host; what ansible said of it."""
        self.fleet.inventory.write_text(yaml.safe_dump(self.inventory))
        done = playbook.run(self.fleet, self.folder / "site.yml", "--extra-vars", json.dumps(variables), env={})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def apply(self) -> dict[str, str]:
        self.fleet.inventory.write_text(yaml.safe_dump(self.inventory))
        command = [sys.executable, "-m", "hostguard", "apply", "-i", str(self.fleet.inventory), "--yes"]
        command += ["-p", str(self.folder / "hostguard.yml"), "--serial", "1"]
        done = self.fleet.run(command, env={"XDG_STATE_HOME": str(self.folder)})
        assert done.returncode == 0, done.stdout + done.stderr
        return states(done)

    def once(self, certificate: str = CLIENT, source: str = MANAGEMENT) -> str:
        """What a client of the world gets from the balancer."""
        at = [self.hosts[BALANCER].address.ipv4, str(PORT), source]
        return self.lab.world.run([*TRAFFIC, "once", str(self.folder), certificate, *at]).stdout.strip()

    def start(self, what: str, *words: str) -> subprocess.Popen[str]:
        """A program of the world's that counts."""
        program = self.lab.world.start_program([*TRAFFIC, what, str(self.folder), *words])
        assert program.stdout
        assert program.stdout.readline() == "ready\n"
        return program

    @contextlib.contextmanager
    def load(self) -> Iterator[Got]:
        """Clients from before until after; what they got is known at the end."""
        got = Got()
        provider = self.start("provider", PROVIDER)
        clients = self.start("clients", CLIENT, self.hosts[BALANCER].address.ipv4, str(PORT), MANAGEMENT)
        try:
            until(lambda: self.answered() > 100, "requests before")
            yield got
            before = self.answered()
            until(lambda: self.answered() > before + 100, "requests after")
        finally:
            got.statuses, arrived = counted(clients), counted(provider)
            got.arrived.update(arrived)
        print(f"{len(got.statuses)} requests, {len(got.lost)} lost: {Counter(got.lost.values())}")
        if got.lost:
            for host in self.hosts.values():
                print(host.run("journalctl -u haproxy -o short-precise | tail -n 50").stdout)

    def answered(self) -> int:
        """Requests that the balancer has sent on since its HAProxy was started or reloaded."""
        return int(self.row("BACKEND")["stot"])

    def up(self) -> set[str]:
        """The edges that get requests, and whose gateway has answered the balancer's last question."""
        return {edge for edge in self.there() if self.row(edge)["status"].startswith("UP")}

    def there(self) -> set[str]:
        return {edge for edge in EDGES if self.row(edge)["check_status"] == "L7OK"}

    def row(self, name: str) -> dict[str, str]:
        """What the balancer says of an edge, or of all."""
        (found,) = [row for row in self.servers() if row["svname"] == name]
        return found

    def servers(self) -> list[dict[str, str]]:
        head, *rows = haproxy(self.hosts[BALANCER], "show stat").lstrip("# ").splitlines()
        return [dict(zip(head.split(","), row.split(","), strict=True)) for row in rows if row.startswith("payments,")]


def counted(program: subprocess.Popen[str]) -> dict[str, Any]:
    """What a program has counted; it ends."""
    program.terminate()
    found: dict[str, Any] = json.loads(answer(program)[0])
    return found


def haproxy(host: Host, command: str) -> str:
    return host.run(["nc", "-NU", ADMIN], input=command + "\n").stdout


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def world(request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(lab, tmp_path_factory.mktemp("balancer"), request.param)
    first = made.play()
    assert first.count("changed=0") == 0, first
    assert set(made.apply().values()) == {"applied"}
    until(lambda: made.up() == set(EDGES), "both gateways")
    provider = made.start("provider", PROVIDER)
    until(lambda: made.once() == "200", "the provider's name")
    counted(provider)
    yield made
    made.names.stop()
    for name in list(lab.hosts):
        lab.hosts.pop(name).remove()


def test_the_role_again_changes_nothing(world: World) -> None:
    assert world.play().count("changed=0") == 3
    assert set(world.apply().values()) == {"unchanged"}


@pytest.mark.parametrize("what", ["routes", "a new Envoy"])
def test_a_policy_that_changes_host_by_host_loses_no_request(world: World, what: str) -> None:
    pids = [world.hosts[edge].out("cat /run/hostguard-gateway/pid") for edge in EDGES]
    gateway = world.gateways["hostguard_policy"]["gateway"]
    if what == "routes":
        gateway["providers"]["payments"]["timeouts"]["total"] = "61s"
    else:
        gateway["workers"] = 1
    with world.load() as got:
        done = world.apply()
    assert done == {**dict.fromkeys(EDGES, "applied"), BALANCER: "unchanged"}
    after = [world.hosts[edge].out("cat /run/hostguard-gateway/pid") for edge in EDGES]
    assert [old == new for old, new in zip(pids, after, strict=True)] == [what == "routes"] * 2
    assert (got.lost, got.unlike) == ({}, {})
    assert set(got.arrived.values()) == {1}


def test_haproxy_is_reloaded_without_a_lost_connection(world: World) -> None:
    with world.load() as got:
        assert "changed=0" not in world.play(hostguard_balancer_connections=3999)
        for _ in range(3):
            for host in world.hosts.values():
                host.run("systemctl reload haproxy")
    assert (got.lost, got.unlike) == ({}, {})
    assert set(got.arrived.values()) == {1}


def test_a_gateway_that_is_taken_out_by_hand_and_stopped_loses_nothing(world: World) -> None:
    balancer, edge = world.hosts[BALANCER], world.hosts[EDGES[0]]
    with world.load() as got:
        haproxy(balancer, f"set server payments/{EDGES[0]} state drain")
        until(lambda: world.row(EDGES[0])["scur"] == "0", "the end of its requests")
        edge.run("systemctl stop hostguard-gateway")
        until(lambda: world.there() == {EDGES[1]}, "the balancer notices")
        edge.run("systemctl start hostguard-gateway")
        until(lambda: world.there() == set(EDGES), "it is back")
        haproxy(balancer, f"set server payments/{EDGES[0]} state ready")
        until(lambda: world.up() == set(EDGES), "it is used again")
    assert (got.lost, got.unlike) == ({}, {})


def test_a_gateway_that_stops_costs_what_it_had_until_the_balancer_notices(world: World) -> None:
    edge = world.hosts[EDGES[0]]
    with world.load() as got:
        edge.run("systemctl stop hostguard-gateway")
        until(lambda: world.row(EDGES[0])["status"].startswith("DOWN"), "the balancer notices")
        before = world.answered()
        until(lambda: world.answered() > before + 100, "requests to the other one")
        edge.run("systemctl start hostguard-gateway")
        until(lambda: world.up() == set(EDGES), "it is back")
    # A GET that broke is sent again. What changes something is not, whatever became of it.
    assert {path.split("/")[1] for path in got.lost} <= {"POST"}
    assert len(got.lost) < KEPT
    assert {path.split("/")[1] for path, times in got.arrived.items() if times > 1} <= {"GET"}


@pytest.mark.parametrize(
    ("certificate", "source", "said"),
    [
        (CLIENT, MANAGEMENT, "^503$"),
        ("", MANAGEMENT, "SSLError|certificate required|ConnectionReset"),
        (STRANGER, MANAGEMENT, "SSLError|unknown ca|ConnectionReset"),
        (COLLEAGUE, MANAGEMENT, "403"),
        (CLIENT, ENEMY, "SSLEOFError|ConnectionReset"),
    ],
    ids=["a client", "no certificate", "another CA's", "another name's", "elsewhere"],
)
def test_who_may_come_in(world: World, certificate: str, source: str, said: str) -> None:
    assert re.search(said, world.once(certificate, source))


@pytest.mark.parametrize(
    "service",
    [
        {"group": "gateways"},
        {"group": "gateways", "from": []},
        {"group": "gateways", "from": ["0.0.0.0/0"]},
        {"group": "nobody", "from": ["10.0.0.0/8"]},
        {"gateway": "10.0.0.1:80", "from": ["10.0.0.0/8"]},
        {"gateway": "127.0.0.84:84", "from": ["10.0.0.0/8"], "clients": ["a name, and no CA"]},
        {"from": ["10.0.0.0/8"]},
    ],
    ids=str,
)
def test_what_everybody_could_use_is_refused_and_nothing_is_written(world: World, service: dict[str, Any]) -> None:
    variables = {"hostguard_balancer_ca": "", "hostguard_balancer_services": [{"name": "x", "listen": 1, **service}]}
    world.fleet.inventory.write_text(yaml.safe_dump(world.inventory))
    before = world.hosts[BALANCER].out("sha256sum /etc/haproxy/haproxy.cfg")
    extra = ["--extra-vars", json.dumps(variables)]
    done = playbook.run(world.fleet, world.folder / "site.yml", "--limit", BALANCER, *extra, env={})
    assert done.returncode == 2
    assert "expected who may come in" in " ".join(done.stdout.split())
    assert world.hosts[BALANCER].out("sha256sum /etc/haproxy/haproxy.cfg") == before


def test_the_role_asks_where_the_gateway_answers() -> None:
    template = (ROLE / "templates" / "haproxy.cfg.j2").read_text(encoding="utf-8")
    assert f" uri {READY} " in template
