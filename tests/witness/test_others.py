"""Other tools that write rules on the same host: whatever they do, what leaves is the policy's, or the audit says why.

The witnesses are packets that the world receives, and the tools' own rules, which must survive.
"""

from __future__ import annotations

import contextlib
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lab import Host, Lab, diff, image
from tests.lab.network import ENEMY, ENEMY_V6, MANAGEMENT, PROVIDER, RESOLVER
from tests.patience import whole
from tests.witness import policy
from tests.witness.others.tools import ENGINES, KUBE_SERVICE, LOADERS, Tool
from tests.witness.report import audit
from tests.witness.world import answers, listening, reaches

pytestmark = pytest.mark.needs("lab")

RECIPE = Path(__file__).with_name("others") / "Containerfile"
# Of all the devices that a container engine lets its containers use, the one that a lab host may not.
CONSOLE = "--device-cgroup-rule=c 5:1 rwm"


def made(lab: Lab, name: str) -> Host:
    host = lab.host(name, made_of=image.grown("others", RECIPE), options=[CONSOLE])
    host.write(policy.PLACE, policy.egress())
    return host


CATCHER = """
import socket
catcher = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
catcher.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
catcher.bind(("", 53))
print("ready", flush=True)
while True:
    print(catcher.recv(100).decode(), flush=True)
"""
SENDER = f"""
import contextlib, os, pwd, socket
def send(family, address, name):
    with contextlib.suppress(PermissionError):  # as the kernel says that OUTPUT dropped it
        socket.socket(family, socket.SOCK_DGRAM).sendto(name, (address, 53))
send(socket.AF_INET, "{ENEMY}", b"stranger")
send(socket.AF_INET6, "{ENEMY_V6}", b"stranger over IPv6")
os.setuid(pwd.getpwnam("envoy").pw_uid)
send(socket.AF_INET, "{RESOLVER}", b"sanctioned")
"""
HELD, UNHELD = {"sanctioned"}, {"sanctioned", "stranger", "stranger over IPv6"}
SECONDS = 2


class World:
    """What the world receives of a host: one datagram each to two strangers, then one to the resolver."""

    def __init__(self, catcher: subprocess.Popen[str]) -> None:
        self.caught: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(catcher,), daemon=True).start()

    def _listen(self, catcher: subprocess.Popen[str]) -> None:
        assert catcher.stdout is not None
        for line in catcher.stdout:
            self.caught.put(line.strip())

    def received_from(self, host: Host) -> set[str]:
        host.run(["python3", "-c", SENDER])
        received: set[str] = set()
        # A host whose last datagram never comes is cut off.
        with contextlib.suppress(queue.Empty):
            while "sanctioned" not in received:
                received.add(self.caught.get(timeout=float(whole(SECONDS))))
        return received


@pytest.fixture(scope="module")
def world(lab: Lab) -> Iterator[World]:
    catcher = lab.world.start_program([sys.executable, "-uc", CATCHER])
    assert catcher.stdout is not None
    assert catcher.stdout.readline().strip() == "ready"
    with listening(lab, 443, 8443):
        yield World(catcher)
    catcher.kill()
    catcher.wait()


def apply(host: Host) -> str:
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr
    return done.stdout


def do(host: Host, act: str, *, check: bool = True) -> None:
    """What starts another tool starts us after it: systemd has nothing left to do when this returns."""
    host.run(act, check=check)
    host.run('until [ -z "$(systemctl list-jobs --no-legend)" ]; do sleep 0.02; done', timeout=60)


def failing(host: Host) -> dict[str, str]:
    """What of the area egress does not pass."""
    results = audit(host)[1]["hosts"][0]["results"]
    wrong = [r for r in results if r["area"] == "egress" and r["status"] not in ("pass", "not_applicable")]
    return {r["id"]: r["actual"] for r in wrong}


def rules(host: Host) -> list[str]:
    """Everybody's rules, without counters."""
    said = host.out("iptables-save; ip6tables-save; nft -s list ruleset 2>/dev/null")
    return [re.sub(r" \[\d+:\d+\]$", "", line) for line in said.splitlines() if not line.startswith("#")]


# What keeps to chains of its own, and what containers may do.

PORTS = {"docker": 8080, "podman": 8081}
OF_HOST = {"docker": ("docker", "fail2ban", "kube-proxy"), "podman": ("podman",)}


@dataclass(frozen=True)
class Crowd:
    """A host with a container engine, and the other tools there."""

    lab: Lab
    host: Host
    engine: str

    @property
    def tools(self) -> list[Tool]:
        return [ENGINES[name] for name in OF_HOST[self.engine]]

    def lets_out(self, address: str, port: int) -> bool:
        """Whether the world greets a caller in the container."""
        call = [self.engine, "exec", "web", "nc", "-w", whole(1), address, str(port)]
        return self.host.run(call, check=False).stdout == "world\n"

    def lets_in(self, source: str) -> bool:
        """Whether the container's published port greets a caller from this address of the world."""
        call = ["nc", "-w", whole(1), "-s", source, self.host.address.ipv4, str(PORTS[self.engine])]
        return self.lab.world.run(call, check=False).stdout == "container\n"


@pytest.fixture(scope="module", params=OF_HOST)
def crowd(request: pytest.FixtureRequest, lab: Lab, world: World) -> Crowd:
    found = Crowd(lab, made(lab, request.param), request.param)
    for tool in found.tools:
        found.host.run(tool.start)
    assert world.received_from(found.host) == UNHELD, "what gets out before proves something after"
    assert found.lets_out(ENEMY, 443)
    assert found.lets_in(ENEMY)
    apply(found.host)
    return found


def test_what_keeps_to_its_own_chains_is_kept(crowd: Crowd, world: World) -> None:
    for tool in crowd.tools:
        for act in ("true", *tool.daily):
            do(crowd.host, act)
            assert world.received_from(crowd.host) == HELD, act
            assert any(tool.shown in line for line in rules(crowd.host)), act


def test_the_audit_names_it_and_nothing_is_to_be_changed(crowd: Crowd) -> None:
    report = audit(crowd.host)[1]["hosts"][0]["results"]
    found = {r["id"]: (r["status"], r["actual"]) for r in report if r["area"] == "egress"}
    assert {name: said for name, said in found.items() if said[0] not in ("pass", "not_applicable")} == {}
    names = {"docker": "Docker, fail2ban, kube-proxy", "podman": "podman"}
    assert found["egress.others"] == ("pass", f"beside {names[crowd.engine]}")
    assert "Nothing to change" in apply(crowd.host)


def test_no_container_gets_out_where_containers_are_denied(crowd: Crowd) -> None:
    assert not crowd.lets_out(ENEMY, 443)
    assert not crowd.lets_in(MANAGEMENT)


def test_a_ban_bans(crowd: Crowd) -> None:
    if crowd.engine == "docker":
        assert answers(crowd.lab, crowd.host, MANAGEMENT, 22)
        crowd.host.run(f"fail2ban-client set sshd banip {MANAGEMENT}")
        assert not answers(crowd.lab, crowd.host, MANAGEMENT, 22)
        crowd.host.run(f"fail2ban-client set sshd unbanip {MANAGEMENT}")
    assert answers(crowd.lab, crowd.host, MANAGEMENT, 22)


def test_a_service_of_kubernetes_is_reached_where_its_endpoint_is_allowed(crowd: Crowd) -> None:
    assert reaches(crowd.host, "envoy", KUBE_SERVICE, 443) == (crowd.engine == "docker")
    assert not reaches(crowd.host, "root", KUBE_SERVICE, 443)


SAME = (
    ("containers: deny", "containers: same"),
    ("services:", f"services:\n    everybody: {{cidrs: [{PROVIDER}/32], ports: [8443]}}\n   "),
    ("inbound:", "inbound:\n    web: {from: [10.77.0.0/24], ports: [80]}\n   "),
)


def test_containers_reach_what_every_account_may_where_they_are_the_same(crowd: Crowd) -> None:
    crowd.host.write(policy.PLACE, policy.egress(*SAME))
    apply(crowd.host)
    for again in ("true", crowd.tools[0].daily[0]):
        crowd.host.run(again)
        assert crowd.lets_out(PROVIDER, 8443), again
        assert crowd.lets_in(MANAGEMENT), again
        assert not crowd.lets_out(ENEMY, 8443), again
        assert not crowd.lets_in(ENEMY), again


def test_the_way_back_leaves_theirs(crowd: Crowd, world: World) -> None:
    assert crowd.host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    after = rules(crowd.host)
    assert not [line for line in after if "hostguard" in line.lower()]
    assert all(any(tool.shown in line for line in after) for tool in crowd.tools)
    assert world.received_from(crowd.host) == UNHELD
    assert crowd.lets_out(ENEMY, 443)
    assert crowd.lets_in(ENEMY)


# A host each for those that load rules of their own.


@pytest.mark.parametrize("name", LOADERS)
def test_what_loads_rules_of_its_own_is_kept_or_named(lab: Lab, world: World, name: str) -> None:
    host, tool = made(lab, name), LOADERS[name]
    unheld = UNHELD if tool.lets_out else set()
    host.run(tool.start)
    assert world.received_from(host) == unheld
    apply(host)
    for act in ("true", *tool.daily):
        do(host, act)
        assert world.received_from(host) == HELD, act
        assert any(tool.shown in line for line in rules(host)), act
    assert answers(lab, host, MANAGEMENT, 22)
    assert failing(host) == {}
    assert "Nothing to change" in apply(host)
    for undoing in tool.undoing:
        host.run(undoing.setting)
        assert undoing.finding in failing(host)["egress.others"]
        host.run(undoing.by_hand, check=False)
        assert undoing.control in failing(host), undoing.by_hand
        for act in tool.by_systemd:
            do(host, act, check=False)
            assert world.received_from(host) == HELD, (undoing.setting, act)
            assert set(failing(host)) == {"egress.others"}, (undoing.setting, act)
        host.run(undoing.mended)
    host.reboot()
    assert world.received_from(host) == HELD
    assert set(failing(host)) == {"egress.others"}
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    after = rules(host)
    assert not [line for line in after if "hostguard" in line.lower()]
    assert any(tool.shown in line for line in after)
    assert world.received_from(host) == unheld
    lab.remove(name)


# What would cut the host off.


def test_a_firewalld_that_flushes_is_refused(lab: Lab, world: World) -> None:
    host = made(lab, "firewalld")
    host.run("systemctl enable --now firewalld.service; firewall-cmd --state")
    before = host.dump()
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 1
    assert "firewalld flushes the rules of others" in done.stderr
    assert "systemctl mask --now firewalld" in host.hostguard("plan").stdout
    assert diff(before, host.dump()) == []
    # As it would be: installed on a host that is hardened already.
    host.run("systemctl mask --now firewalld.service")
    apply(host)
    assert (world.received_from(host), answers(lab, host, MANAGEMENT, 22)) == (HELD, True)
    host.run("systemctl unmask firewalld.service; systemctl enable --now firewalld.service; firewall-cmd --state")
    assert (world.received_from(host), answers(lab, host, MANAGEMENT, 22)) == (set(), False)
    found = failing(host)
    assert "firewalld" in found["egress.others"]
    assert "flushed by firewalld" in found["egress.boot"]
