"""Egress where only a real host tells: the session that applies it, rules in the other backend, secrets and sockets."""

from __future__ import annotations

import json
import sys
import threading

import pytest

from tests.lab import Host, Lab, diff
from tests.lab.network import ENEMY, MANAGEMENT
from tests.patience import whole
from tests.witness import policy
from tests.witness.world import listening

pytestmark = [pytest.mark.needs("lab"), pytest.mark.alone]

# Speaks first, when told: the first packet that connection tracking sees of this connection is an outgoing one.
SPEAKER = """
import socket, os, time
listener = socket.create_server(("", 22))
print("ready", flush=True)
connection, _ = listener.accept()
connection.sendall(b"hello")
while not os.path.exists("/run/speak"):
    time.sleep(0.02)
connection.sendall(b"still here")
connection.recv(1)
"""
CALLER = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 22), source_address=(sys.argv[2], 0))
print(connection.recv(5).decode(), flush=True)
connection.settimeout(float(sys.argv[3]))
try:
    print(connection.recv(10).decode(), flush=True)
except TimeoutError:
    print("silence", flush=True)
"""


@pytest.fixture
def host(own_host: Host) -> Host:
    policy.install(own_host)
    own_host.run("systemctl stop ssh.service ssh.socket || true")
    return own_host


@pytest.mark.parametrize(("source", "lives"), [(MANAGEMENT, True), (ENEMY, False)])
def test_the_session_that_applies_it_lives_on(lab: Lab, host: Host, source: str, lives: bool) -> None:
    assert "nf_conntrack" not in host.out("cat /proc/net/nf_conntrack 2>/dev/null || true")
    host.run(
        ["systemd-run", "--quiet", "--unit=speaker", "--property=StandardOutput=journal", "python3", "-uc", SPEAKER]
    )
    host.run("until ss -ltn | grep -q ':22 '; do sleep 0.02; done", timeout=20)
    caller = lab.world.start_program([sys.executable, "-uc", CALLER, host.address.ipv4, source, whole(10)])
    try:
        assert caller.stdout is not None
        assert caller.stdout.readline().strip() == "hello"
        assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
        host.run("touch /run/speak")
        assert caller.stdout.readline().strip() == ("still here" if lives else "silence")
    finally:
        caller.kill()
        caller.wait()


def result(host: Host, control: str) -> dict[str, str]:
    report = json.loads(host.hostguard("audit", "--format", "json").stdout)
    found: dict[str, str] = next(r for r in report["hosts"][0]["results"] if r["id"] == control)
    return found


def test_rules_in_the_other_backend_are_found(host: Host) -> None:
    assert result(host, "egress.other-backend")["status"] == "pass"
    host.run("iptables-legacy -A OUTPUT -d 192.0.2.1 -j DROP; iptables-legacy -P FORWARD DROP")
    found = result(host, "egress.other-backend")
    assert (found["status"], found["actual"]) == ("fail", "legacy ipv4: 2 rules")
    # Without iptables' own program python-iptables reads the same.
    host.run("mv /usr/sbin/iptables-legacy-save /root/")
    assert result(host, "egress.other-backend")["actual"] == "legacy ipv4: 2 rules"


def test_other_tools_rules_are_reported_when_they_come_first(host: Host) -> None:
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    assert result(host, "egress.output")["status"] == "pass"
    host.run("iptables -I OUTPUT 1 -j ACCEPT")
    found = result(host, "egress.output")
    assert (found["status"], found["actual"]) == ("fail", "ipv4 HOSTGUARD-OUTPUT: jump is at 2, behind: -j ACCEPT")
    host.run("ipset add hostguard-4-envoy 198.51.100.0/24,tcp:443")
    found = result(host, "egress.destinations")
    assert found["status"] == "fail"
    assert "198.51.100.0/24,tcp:443" in found["actual"]
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    assert result(host, "egress.output")["status"] == "pass"
    assert result(host, "egress.destinations")["status"] == "pass"


NATIVE = "nft add rule ip filter INPUT ct state established,related accept"


def test_what_iptables_can_not_show_is_said_before_and_hinders_no_way_back(host: Host) -> None:
    """What `iptables-restore-translate` writes, which distributions tell people to migrate with."""
    host.run(f"iptables -P INPUT ACCEPT; {NATIVE}")
    before = host.dump()
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 1
    for said in ("nothing was touched", "nft's chain ip filter INPUT", "ct state", "take it away"):
        assert said in " ".join(done.stderr.split())
    assert diff(before, host.dump()) == []
    # The other way round: it comes while nobody confirms, and while all is well.
    host.run("nft flush chain ip filter INPUT")
    before = host.dump()
    applying = threading.Thread(target=lambda: host.hostguard("apply", "--yes", "--confirm-within", whole(4) + "s"))
    applying.start()
    host.run("until iptables -S INPUT | grep -q HOSTGUARD; do sleep 0.02; done", timeout=60)
    host.run(NATIVE)
    applying.join()
    assert "HOSTGUARD" not in host.out("nft list ruleset")
    assert host.out("nft list chain ip filter INPUT").count("policy accept") == 1
    host.run("nft flush chain ip filter INPUT")
    assert diff(before, host.dump()) == []
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    host.run(NATIVE)
    found = result(host, "egress.replies")
    assert (found["status"], "can't show nft's chain ip filter INPUT" in found["actual"]) == ("unknown", True)
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    host.run("nft flush chain ip filter INPUT")
    assert diff(before, host.dump()) == []


def test_the_rules_are_loaded_however_often_others_start(host: Host) -> None:
    """systemd refuses the sixth start of a unit within ten seconds unless the unit says otherwise."""
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    host.run("for again in 1 2 3 4 5 6 7 8; do nft flush ruleset; systemctl restart hostguard-egress.service; done")
    assert result(host, "egress.output")["status"] == "pass"
    assert "-A OUTPUT -j HOSTGUARD-OUTPUT" in host.out("iptables-save -t filter")


def test_the_plan_names_what_enforcing_would_cut(host: Host) -> None:
    host.run(["systemd-run", "--quiet", "--unit=hidden", "nc", "-lk", "-p", "4444"])
    host.run("until ss -ltn | grep -q ':4444 '; do sleep 0.02; done", timeout=20)
    said = host.hostguard("plan").stdout
    line = next(line for line in said.splitlines() if "listens on tcp 4444" in line)
    assert line.split()[0] == "nc"
    assert "root" in line


def test_secrets_that_are_open_to_all_or_in_an_environment_are_found(host: Host) -> None:
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    assert result(host, "secrets.permissions")["status"] == "pass"
    host.write("/run/secrets/token", "s3cr3t-value\n", mode="644")
    found = result(host, "secrets.permissions")
    assert (found["status"], "/run/secrets/token (0644)" in found["actual"]) == ("fail", True)
    drop_in = "[Service]\nEnvironment=STRIPE_API_KEY=s3cr3t-value\n"
    host.write("/etc/systemd/system/envoy.service.d/key.conf", drop_in)
    host.run("systemctl daemon-reload")
    found = result(host, "secrets.environment")
    assert (found["status"], found["actual"]) == ("fail", "looks like a secret: envoy.service: STRIPE_API_KEY")
    assert "s3cr3t" not in host.hostguard("audit", "--format", "json").stdout


def test_what_leaves_for_loopback_can_not_be_sent_past_the_allowlist(lab: Lab, host: Host) -> None:
    # NAT in OUTPUT comes before our rules, which still see the way out that the packet had before.
    own, port = host.address.ipv4, 4443
    nat = f"iptables -t nat {{}} OUTPUT -d {own} -p tcp --dport 9 -j DNAT --to-destination {ENEMY}:{port}"

    def sent_elsewhere() -> bool:
        return host.run(["nc", "-z", "-w", whole(1), "-s", own, own, "9"], check=False).returncode == 0

    with listening(lab, port):
        host.run(nat.format("-A"))
        assert sent_elsewhere(), "what can't be reached before proves nothing after"
        assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
        assert not sent_elsewhere()
    with_loopback = f"timeout {whole(5)} sh -c 'nc -l -p 9 < /dev/null & until nc -z {{0}} 9; do sleep 0.05; done'"
    host.run(nat.format("-D"))
    host.run(with_loopback.format(own))
