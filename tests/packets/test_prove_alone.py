"""A proof where nothing of hostguard's is: it says what gets out, and calls nothing held that was not seen held."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

POLICY = "version: 1\negress: {via: direct, providers: {a: {cidrs: [203.0.113.5/32], ports: [443]}}}\n"
LEG = """
ip link set lo up
ip link add e0 type veth peer name e1 && ip link set e0 up && ip link set e1 up
ip address add 198.18.0.1/24 dev e0
ip route add default via 198.18.0.2 && ip neigh add 198.18.0.2 lladdr 02:00:00:00:00:02 dev e0
"""
FENCE = ("unshare", "--user", "--map-root-user", "--net", "--", "sh", "-euc")
pytestmark = [pytest.mark.needs("namespaces"), pytest.mark.alone]


def proven(tmp_path: Path, prepared: str) -> tuple[int, dict[str, dict[str, str]], Any]:
    policy = tmp_path / "policy.yml"
    policy.write_text(POLICY)
    call = f"{prepared}\nexec {sys.executable} -m hostguard prove -p {policy} --host local:// --format json"
    done = subprocess.run([*FENCE, call], capture_output=True, text=True, check=False)
    (host,) = json.loads(done.stdout)["hosts"]
    return done.returncode, {f"{each['id']} {each['address']}": each for each in host["results"]}, host["summary"]


def test_what_gets_out_is_seen(tmp_path: Path) -> None:
    code, found, summary = proven(tmp_path, LEG)
    assert code == 1
    assert summary["held"] == 0
    for way in ("udp.by-root", "ip.ack", "frame.udp"):
        assert found[f"{way} 198.51.100.66"]["evidence"] == "seen leaving e0"
        assert found[f"{way} 2001:db8:bad::66"]["status"] == "absent"


def test_silence_proves_nothing(tmp_path: Path) -> None:
    # Not our chain: it refuses what is sent at once, and says nothing of a connection's first packet.
    code, found, _ = proven(tmp_path, LEG + "iptables -P OUTPUT DROP\n")
    assert code == 1, "frames still get out"
    assert found["udp.by-root 198.51.100.66"]["status"] == "held"
    assert found["tcp.by-root 198.51.100.66"]["status"] == "unknown"


def test_a_host_without_a_network_proves_nothing(tmp_path: Path) -> None:
    code, _, summary = proven(tmp_path, "ip link set lo up")
    assert code == 3
    assert summary["held"] == summary["out"] == 0


BEHIND = """version: 1
egress: {proxy_user: sys, resolvers: [10.0.0.2], providers: {a: {hosts: [a.example]}, b: {hosts: [b.example]}}}
gateway:
  providers:
    a: {users: [daemon], listen: 84, group: daemon, load: {peak_rps: 1, p99: 1s}}
    b: {users: [bin], listen: 85, load: {peak_rps: 1, p99: 1s}}
"""
CLOSED = """
iptables -N G; iptables -A OUTPUT -d 127.0.0.84/32 -j G
iptables -A G -p tcp --dport 84 -m owner --uid-owner 1 -j RETURN
iptables -A G -j REJECT --reject-with icmp-admin-prohibited
mount -t tmpfs none /run; mkdir -p /run/hostguard-gateway/a /run/hostguard-gateway/admin
python3 -c "import socket; socket.socket(1).bind('/run/hostguard-gateway/a/http.sock')"
python3 -c "import socket; socket.socket(1).bind('/run/hostguard-gateway/admin/admin.sock')"
chmod 666 /run/hostguard-gateway/*/*.sock; chown 3:1 /run/hostguard-gateway/a; chmod 2750 /run/hostguard-gateway/a
chown 3 /run/hostguard-gateway/admin; chmod 700 /run/hostguard-gateway/admin
"""


def behind(tmp_path: Path, prepared: str) -> dict[str, str]:
    """What becomes of each way in to the gateway, by the account that tries, on a host without one."""
    policy = tmp_path / "policy.yml"
    policy.write_text(BEHIND)
    call = f"{LEG}{prepared}\nexec {sys.executable} -m hostguard prove -p {policy} --host local:// --format json"
    done = subprocess.run(["unshare", "--net", "--mount", "--", "sh", "-euc", call], capture_output=True, text=True,
                          check=False)  # fmt: skip
    (host,) = json.loads(done.stdout)["hosts"]
    found = [each for each in host["results"] if each["layer"] == "gateway"]
    return {f"{each['id']} {each['address'].rpartition('/')[2]} {each['port']}": each["status"] for each in found}


PORTS = {f"gateway.port-{who} 127.0.0.84 {port}"
         for who in ("stranger", "neighbour", "root", "proxy", "container", "mapped") for port in (84, 85)}  # fmt: skip
SOCKETS = {*(f"gateway.socket-{who} http.sock 0" for who in ("stranger", "neighbour", "container")),
           *(f"gateway.admin-{who} admin.sock 0"
             for who in ("stranger", "neighbour", "user", "container"))}  # fmt: skip
SQUATS = {f"gateway.squat{who} 127.0.0.84 {port}" for who in ("", "-neighbour", "-user") for port in (84, 85)}
BESIDE = {f"gateway.squat-socket-{who} http.sock 0" for who in ("stranger", "user")}
ADMIN = "gateway.admin-tcp admin.sock 0"


@pytest.mark.needs("root")
def test_a_gateway_that_nothing_guards_is_open(tmp_path: Path) -> None:
    found = behind(tmp_path, "")
    assert found.keys() == PORTS | SOCKETS | SQUATS | BESIDE | {ADMIN}
    assert {name for name, status in found.items() if status == "out"} == PORTS, "nobody is there, and nothing refused"
    assert {found[name] for name in SOCKETS | BESIDE | {ADMIN}} == {"unknown"}, "there is none"
    assert {found[name] for name in SQUATS} == {"held"}


@pytest.mark.needs("root")
def test_a_gateway_that_is_guarded_holds(tmp_path: Path) -> None:
    found = behind(tmp_path, CLOSED)
    assert {name for name, status in found.items() if status != "held"} == {ADMIN}, "nothing of it runs"


@pytest.mark.needs("root")
def test_a_port_that_any_account_may_take_is_seen(tmp_path: Path) -> None:
    found = behind(tmp_path, CLOSED + "sysctl -qw net.ipv4.ip_unprivileged_port_start=80\n")
    assert {name for name, status in found.items() if status == "out"} == SQUATS


@pytest.mark.needs("root")
def test_a_member_of_a_socket_s_group_is_let_in(tmp_path: Path) -> None:
    also = "sed 's/^daemon:.*/&bin/' /etc/group > /run/g; mount --bind /run/g /etc/group\n"
    found = behind(tmp_path, CLOSED + also)
    assert {name for name, status in found.items() if status == "out"} == {"gateway.socket-neighbour http.sock 0"}
