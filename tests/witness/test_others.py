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
from pathlib import Path

import pytest

from tests.lab import Host, Lab, image
from tests.lab.network import ENEMY, ENEMY_V6, MANAGEMENT, RESOLVER
from tests.witness import policy
from tests.witness.others.tools import UNDOING, WELL, Tool, Undoing
from tests.witness.report import audit
from tests.witness.world import answers, listening

# Of the example, what this is about.
EGRESS = re.sub(r"(?ms)^(?!version|egress)\w+:.*?(?=^\w+:|\Z)", "", policy.example())
RECIPE = Path(__file__).with_name("others") / "Containerfile"
# Of all the devices that a container engine lets its containers use, the one that a lab host may not.
CONSOLE = "--device-cgroup-rule=c 5:1 rwm"


@pytest.fixture
def host(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Host]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:40].strip("-")
    fresh = lab.host(name, made_of=image.grown("others", RECIPE), options=[CONSOLE])
    fresh.write(policy.PLACE, EGRESS)
    yield fresh
    lab.remove(name)


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
HELD = {"sanctioned"}
SECONDS = 3


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
                received.add(self.caught.get(timeout=SECONDS))
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


def failing(host: Host) -> dict[str, str]:
    """What of the area egress does not pass."""
    results = audit(host)[1]["hosts"][0]["results"]
    return {r["id"]: r["actual"] for r in results if r["area"] == "egress" and r["status"] != "pass"}


def rules(host: Host) -> list[str]:
    """Everybody's rules, without counters."""
    said = host.out("iptables-save; ip6tables-save; nft -s list ruleset 2>/dev/null")
    return [re.sub(r" \[\d+:\d+\]$", "", line) for line in said.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("tool", WELL.values(), ids=WELL)
def test_it_lives_beside_hostguard(lab: Lab, host: Host, world: World, tool: Tool) -> None:
    host.run(tool.start)
    before = rules(host)
    assert any(tool.shown in line for line in before)
    assert world.received_from(host) == {"stranger", "stranger over IPv6", "sanctioned"}, "nothing is held yet"
    apply(host)
    for act in ("true", *tool.daily):
        host.run(act)
        assert world.received_from(host) == HELD, act
        assert any(tool.shown in line for line in rules(host)), act
    assert answers(lab, host, MANAGEMENT, 22)
    assert failing(host) == {}
    assert "Nothing to change" in apply(host)
    if tool.at_boot:
        host.reboot()
        assert world.received_from(host) == HELD
        assert failing(host) == {}
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    after = rules(host)
    assert not [line for line in after if "hostguard" in line.lower()]
    assert any(tool.shown in line for line in after)
    assert world.received_from(host) == {"stranger", "stranger over IPv6", "sanctioned"}


@pytest.mark.parametrize("tool", UNDOING.values(), ids=UNDOING)
def test_what_takes_rules_away_is_named_before_it_does(host: Host, world: World, tool: Undoing) -> None:
    host.run(tool.start)
    apply(host)
    assert tool.finding in failing(host)["egress.others"]
    for act in (*tool.by_systemd, "reboot"):
        host.reboot() if act == "reboot" else host.run(act)
        assert world.received_from(host) == HELD, act
        assert set(failing(host)) == {"egress.others"}, act
    host.run(tool.by_hand)
    assert tool.after in failing(host)
    apply(host)
    assert set(failing(host)) == {"egress.others"}
