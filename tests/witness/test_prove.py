"""The proof on whole hosts, one a backend of iptables: what it says is what the world sees, before and after."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from hostguard.attack.cases import CASES
from hostguard.host.attack.shot import MAGIC
from hostguard.policy.gateway import XDS
from tests.lab import Host, Lab
from tests.lab.fixture import MakeHost
from tests.lab.host import Backend
from tests.witness import policy
from tests.witness.test_gateway_breaks import NAMES, made, names

pytestmark = pytest.mark.needs("lab")
__all__ = ["names"]

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
def marked(lab: Lab, host: Host, sign: bytes = MAGIC) -> Iterator[list[int]]:
    """How many frames with our mark, or another sign, came out of a host meanwhile."""
    found: list[int] = []
    call = [sys.executable, "-uc", TAP, host.address.world_end, sign.hex()]
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
    """What a proof must leave as it is, without counters and the seconds that addresses of names still have."""
    said = host.out("iptables-save; ip6tables-save; ipset save; nft -s list ruleset; ip address; ip route; ls /run")
    said = re.sub(r" timeout \d+$", "", said, flags=re.MULTILINE)
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


# A tunnel is taken, the admin is on a port, and nobody guards the doors.
OPENED = f"""
import json, os
tree = json.load(open("{XDS}/lds.json"))
port = next(each for each in tree["resources"] if each["name"] == "payments-port")
config = port["filter_chains"][0]["filters"][0]["typed_config"]
config["upgrade_configs"] = [{{"upgrade_type": "CONNECT"}}]
taken = {{"cluster": "payments", "upgrade_configs": [{{"upgrade_type": "CONNECT", "connect_config": {{}}}}]}}
route = {{"match": {{"connect_matcher": {{}}}}, "route": taken}}
config["route_config"]["virtual_hosts"][0]["routes"].insert(0, route)
passed = {{"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "x",
          "cluster": "admin"}}
at = {{"socket_address": {{"address": "127.0.0.1", "port_value": 901}}}}
tree["resources"].append({{"@type": port["@type"], "name": "x", "address": at, "filter_chains": [
    {{"filters": [{{"name": "x", "typed_config": passed}}]}}]}})
tree["version_info"] = "opened"
json.dump(tree, open("{XDS}/new", "w"))
os.rename("{XDS}/new", "{XDS}/lds.json")
"""


@pytest.mark.needs("envoy")
@pytest.mark.usefixtures("names")
def test_a_gateway_in_service_refuses_and_its_provider_is_asked_nothing(lab: Lab) -> None:
    host = made(lab, "prove-gateway", "gateway.yml")
    assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
    provider = socket.inet_aton(NAMES["api.provider.com"][0])
    untouched = state(host)
    with marked(lab, host, provider) as asked:
        code, found = proven(host)
    wrong = [each for each in found["results"] if each["status"] in ("out", "unknown")]
    assert (wrong, code) == ([], 0), wrong
    assert asked == [0]
    assert state(host) == untouched
    held = {each["id"] for each in found["results"]}
    assert {case.id for case in CASES if case.layer == "requests" and case.harmless} <= held

    host.run(["python3", "-c", OPENED])
    host.run("iptables -I HOSTGUARD-GATEWAY -j RETURN; until ss -ltn | grep -q 127.0.0.1:901; do sleep 0.1; done")
    code, found = proven(host)
    assert code == 1
    assert {each["id"] for each in found["results"] if each["status"] == "out"} == {
        "gateway.admin-tcp", "gateway.connect", "gateway.connect-provider",
        *(case.id for case in CASES if case.layer == "gateway" and case.way == "local" and case.harmless),
    }  # fmt: skip
