"""Observe, learn, enforce: the same work goes on, and nothing else; what is denied is seen as it happens."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.lab.fixture import MakeHost
from tests.lab.host import PODMAN, Backend
from tests.lab.network import ENEMY, MANAGEMENT, MANAGEMENT_V6, PROVIDER, PROVIDER_V6, RESOLVER, TIME_SERVER, VAULT
from tests.patience import ended, slowness
from tests.witness.policy import PLACE
from tests.witness.world import answers, listening, reaches

pytestmark = pytest.mark.needs("lab")

POLICY = f"""\
version: 1
egress:              # this line stays
  mode: observe
  via: proxy
  proxy_user: envoy
  providers:
    known: {{cidrs: [{PROVIDER}/32], ports: [9443]}}   # and this one
"""
NAME = "api.provider.example"
# Answers every question with the provider's address, and whatever comes to the clock's port with itself.
SERVERS = f"""
import dns.message, dns.rrset, select, socket
def bound(port):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind(("{RESOLVER}" if port == 53 else "{TIME_SERVER}", port))
    return made
names, clock = bound(53), bound(123)
print("ready", flush=True)
while True:
    for each in select.select([names, clock], [], [])[0]:
        data, peer = each.recvfrom(4096)
        if each is names:
            reply = dns.message.make_response(dns.message.from_wire(data))
            question = reply.question[0]
            if question.rdtype == 1:
                reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "{PROVIDER}"))
            data = reply.to_wire()
        each.sendto(data, peer)
"""
CLOCK = """
import socket, sys
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(2)
asked.sendto(b"what time is it", (sys.argv[1], 123))
print(asked.recv(99).decode())
"""
AGENT = """
import signal, socket, sys
held = socket.create_connection((sys.argv[1], 8200))
print("connected", flush=True)
signal.pause()
"""
FLOOD = """
import socket, sys
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(200000):
    try:
        flood.sendto(b"x", (sys.argv[1], 9))
    except PermissionError:
        pass
"""
LONGEST = 120  # seconds: who waits for a word that never comes must not wait for ever
LISTENS = "until grep -q '^ *4747 ' /proc/net/netfilter/nfnetlink_log; do sleep 0.02; done"


@contextlib.contextmanager
def serving(lab: Lab) -> Iterator[None]:
    servers = lab.world.start_program([sys.executable, "-c", SERVERS])
    try:
        assert servers.stdout is not None
        assert servers.stdout.readline().strip() == "ready"
        with listening(lab, 443, 4443, 8200):
            yield
    finally:
        servers.kill()
        servers.wait()


def work(lab: Lab, host: Host) -> dict[str, bool]:
    """What this host is there for, by several accounts, and whether each of it went well."""

    def asks(account: str, *command: str) -> str:
        return host.run(["runuser", "-u", account, "--", *command], check=False).stdout

    return {
        "name": PROVIDER in asks("envoy", "getent", "ahostsv4", NAME),
        "provider": reaches(host, "envoy", PROVIDER, 443),
        "provider over IPv6": reaches(host, "envoy", PROVIDER_V6, 4443),
        "vault": reaches(host, "vault-agent", VAULT, 8200),
        "clock": "what time" in asks("root", "python3", "-c", CLOCK, TIME_SERVER),
        "way in": answers(lab, host, MANAGEMENT, 22),
        "way in over IPv6": answers(lab, host, MANAGEMENT_V6, 22, to=host.address.ipv6),
    }


@pytest.fixture(params=["nft", "legacy"])
def host(request: pytest.FixtureRequest, lab_host: MakeHost) -> Host:
    backend: Backend = request.param
    return lab_host(f"learns-{backend}", backend=backend)


def program(host: Host, *arguments: str) -> subprocess.Popen[str]:
    settings = [f"--env={name}={value}" for name, value in host.settings.items()]
    return started([*PODMAN, "exec", *settings, host.container, "python3", "-m", "hostguard", *arguments])


def started(call: list[str]) -> subprocess.Popen[str]:
    running = subprocess.Popen(call, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    limit = threading.Timer(LONGEST * slowness(), running.kill)
    limit.daemon = True
    limit.start()
    return running


def events(running: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert running.stdout is not None
    return map(json.loads, running.stdout)


def test_what_was_learnt_from_a_run_holds_and_breaks_nothing(lab: Lab, host: Host) -> None:
    host.write(PLACE, POLICY)
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    audit = json.loads(host.hostguard("audit", "--format", "json").stdout)["hosts"][0]["results"]
    assert {r["status"] for r in audit if r["id"] in ("egress.output", "egress.forward")} == {"waived"}, "it observes"
    with serving(lab):
        learning = program(host, "learn", "-o", "/root/learnt.yml")
        host.run(LISTENS, timeout=60)
        assert set(work(lab, host).values()) == {True}
        assert reaches(host, "vault-agent", ENEMY, 443), "what can't be reached before proves nothing after"
        agent = ["systemd-run", "--quiet", "--unit=agent", "--property=User=vault-agent", "python3", "-c", AGENT, VAULT]
        host.run(agent)
        host.run("until journalctl -u agent | grep -q connected; do sleep 0.02; done", timeout=20)
        host.run("pkill -INT -f '[h]ostguard learn'")
        assert ended(learning) == 0

        learnt = host.out("cat /root/learnt.yml")
        assert all(line in learnt.splitlines() for line in POLICY.splitlines())
        assert f"{NAME}: {{cidrs: [{PROVIDER}/32], ports: [443]}}" in learnt
        said = " ".join(learnt.replace("# ", "").split())
        assert re.search(
            r"vault-agent by .*python3 \(/usr/bin/python3[.0-9]*, agent\.service\).* reached 10\.0\.0\.8", said
        )
        assert "past the proxy: send it through envoy" in said
        host.write(PLACE, learnt.replace("mode: observe", "mode: enforce") + "\n")
        assert host.hostguard("validate").returncode == 0
        assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
        assert work(lab, host) == dict.fromkeys(work(lab, host), True)
        assert not reaches(host, "vault-agent", ENEMY, 443)
        assert not reaches(host, "vault-agent", PROVIDER, 443)

        watching = program(host, "watch", "--format", "json")
        told = events(watching)
        assert next(told)["mode"] == "enforce"
        reaches(host, "vault-agent", ENEMY, 443)
        attempt = next(each for each in told if each["event"] == "attempt")
        assert (attempt["verdict"], attempt["account"], attempt["to"], attempt["port"]) == (
            "denied", "vault-agent", ENEMY, 443,
        )  # fmt: skip
        assert attempt["process"]["exe"].endswith("nc.openbsd")
        # A flood is counted, and what comes after it is seen.
        host.run(["runuser", "-u", "vault-agent", "--", "python3", "-c", FLOOD, ENEMY])
        # While the queue is full an attempt is lost: it is made until it is seen.
        later = f"while :; do echo >> /tmp/tries; nc -z -w 1 {ENEMY} 8443; done"
        host.run(["systemd-run", "--quiet", "--unit=later", "--property=User=vault-agent", "sh", "-c", later])
        rest = [attempt]
        while (rest[-1]["event"], rest[-1].get("port")) != ("attempt", 8443):
            rest.append(next(told))
        host.run("pkill -INT -f '[h]ostguard watch'")
        rest += told
        flooded = next(each["id"] for each in rest if each.get("port") == 9)
        counted = sum(each["packets"] for each in rest if each["event"] == "again" and each["id"] == flooded)
        lost = sum(each["packets"] for each in rest if each["event"] == "lost")
        assert lost > 0
        # Of those tries some may be among the lost.
        assert counted + lost <= 200000 + int(host.out("wc -l < /tmp/tries"))
        assert len(rest) < 200
        assert ended(watching) == 3


def test_another_host_is_watched_and_left_alone_in_the_end(lab_host: MakeHost) -> None:
    host = lab_host("learns-nft")
    host.write(PLACE, POLICY)
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    call = [sys.executable, "-m", "hostguard", "watch", "--host", f"podman://{host.container}", "--format", "json"]
    for end in (signal.SIGINT, signal.SIGKILL):
        with started(call) as watching:
            told = events(watching)
            assert next(told)["mode"] == "observe"
            reaches(host, "vault-agent", ENEMY, 443)
            assert next(told)["verdict"] == "observed"
            watching.send_signal(end)
            assert ended(watching) == (0 if end == signal.SIGINT else -signal.SIGKILL)
        # The program there has ended, too.
        host.run("while grep -q '^ *4747 ' /proc/net/netfilter/nfnetlink_log; do sleep 0.02; done", timeout=20)
