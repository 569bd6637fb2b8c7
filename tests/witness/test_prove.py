"""The proof on whole hosts, one a backend of iptables: what it says is what the world sees, before and after."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hostguard.host.attack.shot import MAGIC
from tests.lab import Host, Lab
from tests.lab.fixture import MakeHost
from tests.lab.host import Backend
from tests.witness import policy

pytestmark = pytest.mark.needs("lab")

# Counts what bears our mark until it is told to stop, by a socket that knows nothing of hostguard's.
TAP = """
import signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.bind((sys.argv[1], 0))
tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
print("ready", flush=True)
signal.sigwait({signal.SIGTERM})
found = 0
tap.setblocking(False)
while True:
    try:
        frame, place = tap.recvfrom(65536)
    except BlockingIOError:
        break
    found += place[2] != socket.PACKET_OUTGOING and bytes.fromhex(sys.argv[2]) in frame
print(found, flush=True)
"""


@contextlib.contextmanager
def marked(lab: Lab, host: Host) -> Iterator[list[int]]:
    """How many frames with our mark came out of a host meanwhile."""
    found: list[int] = []
    call = [sys.executable, "-uc", TAP, host.address.world_end, MAGIC.hex()]
    tap = lab.world.start_program(call)
    assert tap.stdout is not None
    try:
        assert tap.stdout.readline().strip() == "ready"
        yield found
        tap.terminate()
        found.append(int(tap.stdout.readline()))
    finally:
        tap.kill()
        tap.wait()


def proven(host: Host) -> tuple[int, dict[str, Any]]:
    done = host.hostguard("prove", "--format", "json")
    said = json.loads(done.stdout)
    assert said["schema"] == "hostguard.proof/1"
    (found,) = said["hosts"]
    return done.returncode, found


def state(host: Host) -> str:
    """What a proof must leave as it is, without counters."""
    said = host.out("iptables-save; ip6tables-save; ipset save; nft -s list ruleset; ip address; ip route; ls /run")
    return "\n".join(line.partition(" [")[0] for line in said.splitlines() if not line.startswith("#"))


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_a_proof_says_what_the_world_sees(lab: Lab, lab_host: MakeHost, backend: Backend) -> None:
    host = lab_host(f"prove-{backend}", backend=backend)
    policy.install(host)
    with marked(lab, host) as before:
        code, found = proven(host)
    assert code == 1
    assert found["summary"]["out"] > 80
    assert before[0] > 50, "those with a payload, which carries the mark"

    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    untouched = state(host)
    with marked(lab, host) as after:
        code, found = proven(host)
    wrong = [each for each in found["results"] if each["status"] in ("out", "unknown")]
    assert (wrong, code) == ([], 0), wrong
    assert found["summary"]["held"] > 80
    assert after == [0]
    assert state(host) == untouched

    # Something gets out again: it is seen, and by its name.
    host.run("iptables -I HOSTGUARD-OUTPUT -p udp --sport 22 -j ACCEPT")
    code, found = proven(host)
    assert code == 1
    assert {each["id"] for each in found["results"] if each["status"] == "out"} == {"ip.from-ssh-port"}
