"""The allowlist changes under load, and no packet of a sanctioned flow is lost by it. The receiver counts."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab import Backend, Host, Lab
from tests.lab.fixture import MakeHost
from tests.lab.network import PROVIDER, RESOLVER
from tests.patience import until
from tests.witness import policy

pytestmark = pytest.mark.needs("lab")

DATAGRAMS = 4_000  # a second, and a tenth of that of segments

RECEIVER = f"""
import contextlib, json, socket
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.setsockopt(socket.SOL_SOCKET, 33, 1 << 28)  # SO_RCVBUFFORCE: nothing is lost because we are slow
datagrams.bind(("{RESOLVER}", 53))
listener = socket.create_server(("{PROVIDER}", 443))
print("ready", flush=True)
connection, _ = listener.accept()
stream = connection.makefile("rb")
lines = [int(line) for line in stream]
datagrams.setblocking(False)
received = []
with contextlib.suppress(BlockingIOError):
    while True:
        received.append(int(datagrams.recv(100)))
said = {{"sent": lines[-1], "datagrams": len(set(received)), "in order": lines == sorted(lines)}}
print(json.dumps(said), flush=True)
"""
SENDER = f"""
import contextlib, os, pwd, socket, time
os.setuid(pwd.getpwnam("envoy").pw_uid)
datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
datagrams.connect(("{RESOLVER}", 53))
stream = socket.create_connection(("{PROVIDER}", 443))
stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
sent, began = 0, time.monotonic()
while not os.path.exists("/run/enough"):
    for _ in range(10):
        sent += 1
        with contextlib.suppress(PermissionError):  # as the kernel says that it was dropped: the receiver counts it
            datagrams.send(b"%d" % sent)
    stream.sendall(b"%d\\n" % sent)
    time.sleep(max(0, began + sent / {DATAGRAMS} - time.monotonic()))
stream.sendall(b"%d\\n" % sent)
"""


@dataclass
class Flow:
    """What became of what was sent."""

    sent: int = 0
    lost: int = 0
    retransmitted: int = 0


@contextlib.contextmanager
def flowing(lab: Lab, host: Host) -> Iterator[Flow]:
    """Sanctioned datagrams and segments leave the host until the end, where their fate is known."""
    flow = Flow()
    host.run("rm -f /run/enough")
    receiver = lab.world.start_program([sys.executable, "-c", RECEIVER])
    try:
        assert receiver.stdout is not None
        assert receiver.stdout.readline().strip() == "ready"
        before = retransmitted(host)
        silent = counted(host, "UdpOutDatagrams")
        host.run(["systemd-run", "--quiet", "--collect", "--unit=sender", "python3", "-c", SENDER])
        until(lambda: counted(host, "UdpOutDatagrams") != silent, "the flow begins")
        yield flow
        host.run("touch /run/enough")
        said = json.loads(receiver.stdout.readline())
        assert said["in order"], said
        flow.sent, flow.lost = said["sent"], said["sent"] - said["datagrams"]
        flow.retransmitted = retransmitted(host) - before
    finally:
        receiver.kill()
        receiver.wait()


def retransmitted(host: Host) -> int:
    """Segments that the host had to send once more, by the kernel's own counts: those that the receiver says it had
    (DSACK, RFC 2883) were sent again because we are slow."""
    count = counted(host, "TcpRetransSegs", "TcpExtTCPDSACKRecv")
    return count["TcpRetransSegs"] - count["TcpExtTCPDSACKRecv"]


def counted(host: Host, *names: str) -> dict[str, int]:
    """What the host's kernel has counted since it booted."""
    said = host.out(["nstat", "--zeros", "--noupdate", "--ignore", *names])
    return {words[0]: int(words[1]) for words in map(str.split, said.splitlines()) if words[0] != "#kernel"}


def dropped(host: Host) -> int:
    """The packets that the chain's last rule has dropped."""
    return int(host.out("iptables -vnxL HOSTGUARD-OUTPUT | tail -1").split()[0])


def more(count: int) -> policy.Change:
    """Destinations in a set that the flow needs, and an account more with a set and rules of its own."""
    added = "".join(f"\n    other{at}: {{cidrs: [192.0.2.{at}/32], ports: [443]}}" for at in range(count))
    service = "\n  services:\n    daily: {cidrs: [192.0.2.99/32], ports: [25], users: [daemon]}"
    return "  providers:", f"  providers:{added}" if count % 2 else f"{service[1:]}\n  providers:{added}"


CHANGES = ((more(1),), (("[10.0.0.3]", "[10.0.0.3, 10.0.0.4]"),), (more(3), ("containers: deny", "containers: same")))


def change(host: Host, *changes: policy.Change) -> None:
    host.write(policy.PLACE, policy.egress(*changes))
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr
    assert "Applied as generation" in done.stdout


NAIVE = """
for round in 1 2 3 4 5 6 7 8 9 10; do
    ipset save hostguard-4-envoy > /run/filled
    ipset flush hostguard-4-envoy
    ipset -exist restore < /run/filled
done
"""


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_no_packet_is_lost_while_the_allowlist_changes(lab: Lab, lab_host: MakeHost, backend: Backend) -> None:
    host = lab_host(backend, backend=backend)
    change(host)
    with flowing(lab, host) as flow:
        for changes in CHANGES:
            change(host, *changes)
        change(host)
        host.run("for again in 1 2 3 4 5; do systemctl reload hostguard-egress.service || exit; done")
        until(lambda: counted(host, "UdpOutDatagrams")["UdpOutDatagrams"] > DATAGRAMS, "enough was sent")
    assert (flow.lost, flow.retransmitted) == (0, 0), flow
    assert flow.sent > DATAGRAMS
    with flowing(lab, host) as naive:
        before = dropped(host)
        until(lambda: not host.run(NAIVE).returncode and dropped(host) > before, "a packet meets an empty set")
    assert naive.lost or naive.retransmitted, f"who flushes and fills again loses some: {naive}"
