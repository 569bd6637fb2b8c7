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
