"""Who reaches the gateway's ports: the real rules on the real kernel, in a network namespace of the test's own."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import pytest

from hostguard.controls.egress import chains
from tests.lab.process import call
from tests.unit.a_gateway import GATEWAY, UPSTREAM

pytestmark = [pytest.mark.needs("root"), pytest.mark.alone]

SHOP, MAIL, STRANGER, PROXY, PROMETHEUS = 6001, 6002, 6003, 5000, 6004
UIDS = {"shop": SHOP, "mail": MAIL, "prometheus": PROMETHEUS}
TWO = replace(
    GATEWAY,
    upstreams=(replace(UPSTREAM, users=("shop",), listen=84), replace(UPSTREAM, name="b", users=("mail",), listen=85)),
    metrics_listen=90,
    metrics_users=("prometheus",),
)
PRELUDE = """
import errno, json, os, socket, subprocess, threading
from hostguard.host.kinds import ruleset
from hostguard.host.snapshot import differ, look
def sh(text):
    return subprocess.run(text, shell=True, check=True, capture_output=True, text=True).stdout
sh("ip link set lo up")
def listen(port):
    made = socket.socket(); made.bind((ADDRESS, port)); made.listen()
    def serve():
        while True:
            made.accept()[0].close()
    threading.Thread(target=serve, daemon=True).start()
def outcome(uid, address, port):
    '''What an account gets of a connection: "" or the error's name.'''
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
        with socket.socket() as caller:
            caller.settimeout(3)
            try:
                caller.connect((address, port)); said = ""
            except OSError as error:
                said = errno.errorcode.get(error.errno or 0, str(error))
        os.write(theirs, said.encode()); os._exit(0)
    os.close(theirs); os.wait()
    with os.fdopen(ours) as line:
        return line.read()
def apply(resources):
    '''As a transaction does: what differs is written; returned is what differs then.'''
    seen = look(resources)
    ruleset.write([r for r in resources if differ(r, seen[r["id"]])], seen)
    again = look(resources)
    return [str(d) for r in resources for d in differ(r, again[r["id"]])]
"""
LETS_OUT = {"id": "ruleset:ipv4:HOSTGUARD-OUTPUT", "kind": "ruleset", "control": "egress.output", "family": "ipv4",
            "table": "filter", "hook": "OUTPUT", "chain": "HOSTGUARD-OUTPUT", "policy": "DROP",
            "rules": ["-o lo -m addrtype --dst-type LOCAL -j ACCEPT", "-j DROP"], "first": True}  # fmt: skip


def resolved() -> list[dict[str, Any]]:
    text = json.dumps(chains.gateway(TWO))
    for name, uid in UIDS.items():
        text = text.replace(f"${{uid:{name}}}", str(uid))
    found: list[dict[str, Any]] = json.loads(text)
    return found


def alone(script: str) -> Any:
    head = f"ADDRESS = {GATEWAY.address!r}\nGATE = {resolved()!r}\nOUT = {LETS_OUT!r}\n"
    done = call(
        ["unshare", "--net", "--mount", "--", sys.executable, "-c", head + PRELUDE + script], check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_port_is_its_users_alone_and_nobody_waits_to_be_refused() -> None:
    said = alone(f"""
for port in (84, 85, 90, 8080): listen(port)
left = apply([OUT, *GATE])
uids = ({SHOP}, {MAIL}, {PROMETHEUS}, {STRANGER}, {PROXY}, 0)
print(json.dumps([left, [[uid, port, outcome(uid, ADDRESS, port)] for uid in uids for port in (84, 85, 90, 8080)]]))
""")
    left, tried = said
    assert left == []
    works = {(uid, port) for uid, port, error in tried if not error}
    assert works == {(SHOP, 84), (MAIL, 85), (PROMETHEUS, 90)}
    assert {error for uid, port, error in tried if (uid, port) not in works} == {"EHOSTUNREACH"}


def test_other_addresses_of_the_host_are_left_alone() -> None:
    assert (
        alone(f"""
ADDRESS = "127.0.0.1"
listen(84)
apply([OUT, *GATE])
print(json.dumps(outcome({STRANGER}, "127.0.0.1", 84)))
""")
        == ""
    )


@pytest.mark.parametrize("backwards", [False, True])
def test_it_stays_before_the_chain_that_lets_out_whichever_is_written_anew(backwards: bool) -> None:
    said = alone(f"""
listen(84)
both = [OUT, *GATE][::{-1 if backwards else 1}]
left = [apply(both)]
sh("iptables -D OUTPUT -j HOSTGUARD-OUTPUT")
left.append(apply(both))
sh("iptables -D OUTPUT -j HOSTGUARD-GATEWAY")
left.append(apply(both))
sh("iptables -F OUTPUT")
left.append(apply(both))
# The rules of egress alone, by somebody who has heard of no gateway.
sh("iptables -D OUTPUT -j HOSTGUARD-OUTPUT; iptables -I OUTPUT -j HOSTGUARD-OUTPUT; iptables -F HOSTGUARD-OUTPUT")
left.append(apply([OUT]))
print(json.dumps([left, apply(both), outcome({STRANGER}, ADDRESS, 84)]))
""")
    assert said == [[[], [], [], [], []], [], "EHOSTUNREACH"]


def test_what_lets_past_before_it_is_seen() -> None:
    said = alone("""
apply([OUT, *GATE])
sh("iptables -I OUTPUT -o lo -j ACCEPT")
seen = look(GATE)
print(json.dumps([d.field for r in GATE for d in differ(r, seen[r["id"]])]))
""")
    assert said == ["jump"]


FROM_OUTSIDE = """
import sys
from hostguard.rehearse import links
from hostguard.rehearse.outside import Outside, questions, tell
def outside(line):
    for asked in questions(line):
        if "done" in asked:
            return
        # What is for 127/8 goes out of the door: its own loopback is in nobody's way.
        sh("ip address add 10.9.0.2/24 dev there; ip link set there up; ip link set lo down")
        sh("sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.there.route_localnet=1")
        sh("ip rule add pref 1 table local; ip rule del pref 0; ip rule add pref 0 to 127.0.0.84 table 7")
        sh("ip route add 127.0.0.84 via 10.9.0.1 dev there src 10.9.0.2 table 7")
        with socket.socket() as caller:
            caller.settimeout(3)
            tell(line, errno.errorcode.get(caller.connect_ex((ADDRESS, 84)), ""))
"""


@pytest.mark.parametrize("guarded", [False, True])
def test_nothing_comes_in_from_another_device_though_loopback_may_be_routed(guarded: bool) -> None:
    said = alone(f"""{FROM_OUTSIDE}
beside = Outside(outside)
links.wire("here", "there", beside.pid)
sh("ip address add 10.9.0.1/24 dev here; ip link set here up")
sh("sysctl -qw net.ipv4.conf.all.route_localnet=1 net.ipv4.conf.here.route_localnet=1")
listen(84)
apply(GATE if {guarded} else [])
print(json.dumps(beside.ask(go=True)))
""")
    assert said == ("EAGAIN" if guarded else ""), "without the rule it must get in, or the test proves nothing"
