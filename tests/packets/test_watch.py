"""What the rules tell of real packets, in a namespace of the test's own: whose they are, their names, and a flood."""

from __future__ import annotations

import pytest

from tests.packets.test_rules_go_back import alone, pytestmark  # noqa: F401

SCENE = '''
import os, socket, sys
from hostguard.controls.egress import chains
from hostguard.host import observe
sh("ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 192.0.2.1/24 dev d0")
sh("ip link set d1 up; ip link set d0 up; ip route add default via 192.0.2.2")
sh("ip neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev d0")
ours = ["-o lo -j ACCEPT", *chains.tell(chains.DENY), "-j DROP"]
rules = "".join("-A HOSTGUARD-OUTPUT " + rule + "\\n" for rule in ours)
subprocess.run(["iptables-{backend}-restore"], text=True, check=True,
               input="*filter\\n:HOSTGUARD-OUTPUT -\\n-A OUTPUT -j HOSTGUARD-OUTPUT\\n" + rules + "COMMIT\\n")
saved = sh("iptables-{backend}-save -t filter")
assert all(rule in saved for rule in rules.splitlines()), saved
observe.nflog.mode = lambda: "enforce"
asked, ask = os.pipe()
told = observe.observe({{"seconds": None, "evidence": {{}}}}, asked)
assert next(told)["mode"] == "enforce"
next(told)
def send(address, port, times=1):
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(times):
        try:
            made.sendto(b"x", (address, port))
        except PermissionError:
            pass
    return made
FLOOD = """
import socket
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    try:
        made.sendto(b"x", ("203.0.113.5", 9))
    except PermissionError:
        pass
"""
def until(*wanted):
    found = []
    while not wanted or found[-1:] == [] or found[-1]["is"] not in wanted:
        found.append(next(told))
    return found
'''


@pytest.mark.parametrize("backend", ["nft", pytest.param("legacy", marks=pytest.mark.needs("root"))])
def test_an_attempt_is_told_with_whose_it_is(backend: str) -> None:
    said = alone(
        SCENE.format(backend=backend)
        + """
kept = send("203.0.113.5", 9)
first = until("attempt")[-1]
again = send("203.0.113.5", 9)
answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answers.bind(("127.0.0.1", 53))
query = b"\\0\\1\\x81\\x80\\0\\1\\0\\0\\0\\0\\0\\0\\3api\\7example\\0\\0\\1\\0\\1"
for text in (query, query.replace(b"\\0\\1\\0\\1", b"\\0\\x10\\0\\1"), query[:-3]):
    answers.sendto(text, ("127.0.0.1", 4053))
os.write(ask, b".")
print(json.dumps([os.getpid(), first, list(told)]))
"""
    )
    pid, first, rest = said
    assert (first["account"], first["process"]["pid"]) == ("root", pid)
    assert (first["to"], first["port"], first["protocol"], first["verdict"]) == ("203.0.113.5", 9, "udp", "deny")
    assert [each["message"] for each in rest if each["is"] == "answer"] == ["AAGBgAABAAAAAAAAA2FwaQdleGFtcGxlAAABAAE="]
    assert [(each["attempts"], each["packets"]) for each in rest if each["is"] == "again"] == [(1, 1)]


def test_what_the_kernel_sends_by_itself_is_nobodys_and_no_end() -> None:
    """Of a socket of its own, as WireGuard has one, sock_diag says that it is root's, and the rules that it is not."""
    said = alone(
        SCENE.format(backend="nft")
        + """
sh("ip link add vx type vxlan id 7 dstport 4789 srcport 4789 4790 remote 203.0.113.5 dev d0")
sh("sysctl -qw net.ipv6.conf.vx.disable_ipv6=1; ip addr add 198.51.100.1/24 dev vx; ip link set vx up")
sh("iptables -I OUTPUT -o vx -j ACCEPT")
kept = send("198.51.100.2", 9)  # it asks by ARP, which no process sends, where that address is
found = until("attempt")[-1]
os.write(ask, b".")
list(told)
print(json.dumps(found))
"""
    )
    assert (said["to"], said["from_port"], said["port"]) == ("203.0.113.5", 4789, 4789)
    assert (said["account"], said["process"], said["ending"]) == ("", {}, False)


def test_the_last_packets_of_a_closed_connection_are_its_end() -> None:
    said = alone(
        SCENE.format(backend="nft")
        + """
listener = socket.create_server(("127.0.0.1", 7777))
client = socket.create_connection(("127.0.0.1", 7777))
sh("iptables -N TELL; iptables -I OUTPUT -o lo -p tcp --dport 7777 -j DROP")
client.close()  # its FIN is still the process's; it is sent again until it is answered
sh("; ".join("iptables -A TELL " + rule for rule in [*chains.tell(chains.DENY)[1:], "-j DROP"]))
sh("iptables -R OUTPUT 1 -o lo -p tcp --dport 7777 -j TELL")
found = until("attempt")[-1]
os.write(ask, b".")
list(told)
print(json.dumps(found))
"""
    )
    assert (said["to"], said["port"], said["protocol"]) == ("127.0.0.1", 7777, "tcp")
    assert (said["account"], said["ending"]) == ("", True)


def test_a_flood_is_counted_and_ends_nothing() -> None:
    said = alone(
        SCENE.format(backend="nft")
        + """
import time
flood = subprocess.Popen([sys.executable, "-c", FLOOD])
rest = until("lost")
before = time.process_time(), time.monotonic()
rest += until("lost")
spent = (time.process_time() - before[0]) / (time.monotonic() - before[1])
flood.kill()
flood.wait()
after = {}
while after.get("is") != "attempt":  # what comes while the queue is still full is lost
    kept = send("203.0.113.6", 9)
    after = next(told)
    rest.append(after)
os.write(ask, b".")
rest += told
print(json.dumps([after, rest, spent]))
"""
    )
    after, rest, spent = said
    assert after["to"] == "203.0.113.6"
    packets = sum(each["packets"] for each in rest if each["is"] == "again")
    lost = sum(each["packets"] for each in rest if each["is"] == "lost")
    assert packets > 0
    assert lost > 0
    # A share of one CPU, which a busy machine can only make smaller.
    assert spent < 0.6


@pytest.mark.needs("root")
def test_one_listens_at_a_time() -> None:
    said = alone(
        SCENE.format(backend="nft")
        + """
try:
    next(observe.observe({"seconds": 1, "evidence": {}}))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""
    )
    assert said[0] == "HostError"
    assert "listens here already" in said[1]
