"""Each fault made on a whole host: the diagnosis names it, and nothing else. The last test prints who named what."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab import Host, Lab
from tests.lab.network import ENEMY, PROVIDER
from tests.patience import until, whole
from tests.witness import ill
from tests.witness.confusion import confusion
from tests.witness.ill import HERE, NAME, NOWHERE, SECOND, THERE, World

pytestmark = pytest.mark.needs("lab")

SLOW = "a provider is slow"
LOOKS = 3
NAMED: dict[str, list[str]] = {}
"""The rules that found something, by the fault that was made."""

# Opens so many files, says so, and waits.
FILES = """
import os, sys, time
kept = [os.open("/", os.O_RDONLY) for _ in range(int(sys.argv[1]))]
print("ready", flush=True)
time.sleep(9999)
"""
SAYS = """
import sys, time
print(sys.argv[1], file=sys.stderr, flush=True)
print("ready", flush=True)
time.sleep(9999)
"""
THREADS = """
import sys, threading
for _ in range(int(sys.argv[1])):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""
# Connects so many times to an address, waits for no answer, and keeps what it has.
CALLER = """
import errno, select, socket, sys, threading
kept = []
for _ in range(int(sys.argv[3])):
    caller = socket.socket()
    caller.setblocking(False)
    assert caller.connect_ex((sys.argv[1], int(sys.argv[2]))) in (0, errno.EINPROGRESS)
    if sys.argv[4:]:
        select.select([], [caller], [])
        assert not caller.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    kept.append(caller)
print("ready", flush=True)
threading.Event().wait()
"""
LISTENER = """
import socket, threading
listener = socket.create_server(("", 8080), backlog=8)
print("ready", flush=True)
threading.Event().wait()
"""
# Closes connections to listeners of its own until so many are left that wait for a minute each.
CLOSER = """
import re, socket, sys, time
listeners = [socket.create_server(("127.0.0.1", port), backlog=512) for port in range(9001, 9005)]
def waiting():
    return int(re.search(r"tw (\\d+)", open("/proc/net/sockstat").read())[1])
told = False
while True:
    while waiting() < int(sys.argv[1]):
        for listener in listeners:
            for _ in range(250):
                caller = socket.create_connection(listener.getsockname())
                answered = listener.accept()[0]
                caller.close()
                answered.close()
    if not told:
        print("ready", flush=True)
        told = True
    time.sleep(0.2)
"""
# SYNs of callers from far away that are never heard of again.
FLOOD = """
import socket, struct, sys, time
to = socket.inet_aton(sys.argv[1])
def total(data):
    found = sum(struct.unpack(f"!{len(data) // 2}H", data))
    found = (found & 0xFFFF) + (found >> 16)
    return ~(found + (found >> 16)) & 0xFFFF
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
# Over and over: the kernel forgets the older ones of a queue that is full.
for turn in range(1 << 20):
    for at in range(64):
        source = bytes([198, 18, 0, 1 + at])
        parts = [10000 + at, 8080, 1, 0, 5 << 12 | 2, 64240, 0, 0]
        pack = lambda: struct.pack("!HHIIHHHH", *parts)
        parts[6] = total(source + to + struct.pack("!HH", 6, 20) + pack())
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, at, 0, 64, 6, 0, source, to)
        out.sendto(header + pack(), (sys.argv[1], 0))
    if not turn:
        print("ready", flush=True)
    time.sleep(0.5)
"""


@dataclass(frozen=True)
class Fault:
    """`made` makes it, for as long as it is open; `rule` must name it, and say `says`. `alone`: on a host of its own,
    since it leaves a trace for a while."""

    rule: str
    says: str
    made: Callable[[World, Host], contextlib.AbstractContextManager[Any]]
    alone: bool = False


@contextlib.contextmanager
def service(
    host: Host, name: str, program: str, *arguments: str, user: str = "root", **settings: str
) -> Iterator[None]:
    """A unit that runs this program of Python's, and has said a word."""
    said = f"/run/{name}.said"
    options = [f"--property={key}={value}" for key, value in settings.items()]
    options += [f"--property=StandardOutput=file:{said}", f"--uid={user}", f"--unit={name}"]
    host.run(["systemd-run", "--quiet", *options, "python3", "-uc", program, *arguments])
    try:
        until(lambda: host.run(["test", "-s", said], check=False).returncode == 0, f"{name} is ready")
        yield
    finally:
        host.run(f"systemctl stop {name}; systemctl reset-failed {name}; rm -f {said}", check=False)


@contextlib.contextmanager
def undone(host: Host, do: str, undo: str) -> Iterator[None]:
    host.run(do)
    try:
        yield
    finally:
        host.run(undo)


def caller(
    host: Host, address: str, port: int = 443, count: int = 1, user: str = "envoy", *, waits: bool = False
) -> Any:
    more = ["until it stands"] if waits else []
    return service(host, "caller.service", CALLER, address, str(port), str(count), *more, user=user)


@contextlib.contextmanager
def old_address(world: World, host: Host, *, open_: bool) -> Iterator[None]:
    """The provider was there when the caller looked it up, and has moved since; where the connection is open, the hour
    is over in which the rules let a new one begin."""
    address = THERE if open_ else NOWHERE
    with world.names([address]):
        until(
            lambda: address in host.run(f"runuser -u envoy -- getent ahostsv4 {NAME}", check=False).stdout,
            "it is there",
        )
        with caller(host, address, waits=open_):
            for each in (world.first, world.second):
                each.answer({NAME: [HERE]})
            until(lambda: HERE in host.out(LOOK_UP), "it has moved")
            if open_:
                new = next(word for word in host.out("ipset -n list").split() if "4-NEW-" in word)
                host.run(f"ipset del {new} {address}")
            yield
    host.run("conntrack -F", check=False)


@contextlib.contextmanager
def few_ports(_world: World, host: Host) -> Iterator[None]:
    was = host.out("cat /proc/sys/net/ipv4/ip_local_port_range").split()
    with undone(host, "sysctl -qw net.ipv4.ip_local_port_range='40000 40099'",
                f"sysctl -qw net.ipv4.ip_local_port_range='{' '.join(was)}'"), \
         caller(host, PROVIDER, count=80, waits=True):  # fmt: skip
        yield


@contextlib.contextmanager
def limited(_world: World, host: Host) -> Iterator[None]:
    said = "POST /v1/charges: 429 Too Many Requests, Retry-After: 30"
    with service(host, "shop.service", SAYS, said, StandardError="journal"):
        until(lambda: "429" in host.out("journalctl -q -u shop.service"), "the journal has it")
        yield


@contextlib.contextmanager
def many_closed(_world: World, host: Host) -> Iterator[None]:
    host.run("sysctl -qw net.ipv4.tcp_max_tw_buckets=100000")
    with service(host, "closer.service", CLOSER, "31000"):
        yield


@contextlib.contextmanager
def flooded(world: World, host: Host) -> Iterator[None]:
    with service(host, "slow.service", LISTENER):
        flood = world.lab.world.start_program([sys.executable, "-c", FLOOD, host.address.ipv4])
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "ready\n"
            yield
        finally:
            flood.kill()
            flood.wait()


@contextlib.contextmanager
def not_accepted(_world: World, host: Host) -> Iterator[None]:
    with service(host, "slow.service", LISTENER), caller(host, "127.0.0.1", 8080, 20):
        yield


@contextlib.contextmanager
def silent_resolvers(world: World) -> Iterator[None]:
    with world.first.silent(), world.second.silent():
        yield


@contextlib.contextmanager
def stopped(world: World) -> Iterator[None]:
    world.stop("tcp")
    try:
        yield
    finally:
        world.serve("tcp", ill.TCP_SERVER, PROVIDER)


@contextlib.contextmanager
def ending_client(world: World, host: Host) -> Iterator[None]:
    ill.put_client(world, host, "client ends")
    try:
        yield
    finally:
        ill.put_client(world, host, "client")


LOOK_UP = f"runuser -u envoy -- getent ahostsv4 {NAME}"
NSCD = ("printf 'enable-cache hosts yes\\n' > /etc/nscd.conf; cp /bin/sleep /usr/local/bin/nscd; "
        "systemd-run --quiet --unit=nscd /usr/local/bin/nscd 9999; until pgrep -x nscd; do sleep 0.1; done",
        "systemctl stop nscd; rm /etc/nscd.conf /usr/local/bin/nscd")  # fmt: skip
FAULTS = {
    "a process has no files left": Fault(
        "open-files", "shop.service", lambda _, host: service(host, "shop.service", FILES, "3400")),
    "a service has no tasks left": Fault(
        "tasks", "busy.service", lambda _, host: service(host, "busy.service", THREADS, "17", TasksMax="20")),
    "one resolver is silent": Fault("lookups", f"resolver {SECOND}", lambda world, _: world.second.silent()),
    "all resolvers are silent": Fault("lookups", "EAI_AGAIN", lambda world, _: silent_resolvers(world)),
    "one resolver fails": Fault("lookups", "SERVFAIL", lambda world, _: world.names("SERVFAIL", where="second")),
    "the resolvers do not agree": Fault(
        "lookups", f"NXDOMAIN from {SECOND}", lambda world, _: world.names("NXDOMAIN", where="second")),
    "no resolver knows the name": Fault("lookups", "NXDOMAIN", lambda world, _: world.names("NXDOMAIN")),
    "the name leads nowhere": Fault("lookups", "no address", lambda world, _: world.names([])),
    "the host's own resolver is gone": Fault(
        "lookups", "hostguard-names.service",
        lambda _, host: undone(host, "systemctl stop hostguard-names", "systemctl start hostguard-names")),
    "an old address is called": Fault(
        "stale-addresses", NOWHERE, lambda world, host: old_address(world, host, open_=False)),
    "a connection to an old address": Fault(
        "stale-addresses", THERE, lambda world, host: old_address(world, host, open_=True)),
    "nscd keeps names": Fault("stale-addresses", "nscd", lambda _, host: undone(host, *NSCD)),
    "the ports to one address are taken": Fault("ports", "of 100 ports", few_ports),
    "30,000 closed connections": Fault("ports", "in TIME_WAIT", many_closed, alone=True),
    "a provider says 429": Fault("refused", "Retry-After 30 s", limited, alone=True),
    "callers are not accepted": Fault("accept-queue", "slow.service", not_accepted),
    "a flood of SYNs": Fault("accept-queue", "half open", flooded, alone=True),
    "the clock is behind": Fault("clock", "behind", lambda world, _: world.ahead(5)),
    "the clock is ahead": Fault("clock", "ahead of", lambda world, _: world.ahead(-90)),
    "the time server is silent": Fault("clock", "no answer", lambda world, _: world.silent("time")),
    "held: an unknown address": Fault("held", ENEMY, lambda _, host: caller(host, ENEMY, user="shop")),
    "held: past the proxy": Fault("held", "envoy alone", lambda _, host: caller(host, PROVIDER, user="shop")),
    "held: another port": Fault("held", "8443", lambda _, host: caller(host, PROVIDER, 8443)),
    "its certificate is over": Fault("tls", "its own", lambda world, _: world.tls("leaf over")),
    "its intermediate is over": Fault("tls", "Old Intermediate", lambda world, _: world.tls("intermediate over")),
    "its certificate is not valid yet": Fault("tls", "not valid yet", lambda world, _: world.tls("not yet")),
    "another's certificate": Fault("tls", "other.example", lambda world, _: world.tls("other name")),
    "no intermediate is sent": Fault("tls", "whole chain", lambda world, _: world.tls("no intermediate")),
    "an unknown authority": Fault("tls", "A Stranger", lambda world, _: world.tls("stranger")),
    "no client certificate, TLS 1.3": Fault("tls", "alert 116", lambda world, _: world.tls(asks=True)),
    "no client certificate, TLS 1.2": Fault(
        "tls", "client_certificate", lambda world, _: world.tls(asks=True, newest="TLSv1_2")),
    "no TLS on the port": Fault("tls", "not in TLS", lambda world, _: world.tls(plain=True)),
    "its certificate ends soon": Fault("certificate-ends", "10 days", lambda world, _: world.tls("leaf ends")),
    "its intermediate ends soon": Fault(
        "certificate-ends", "Next Intermediate", lambda world, _: world.tls("intermediate ends")),
    "our certificate ends soon": Fault("certificate-ends", "/run/secrets/client.pem", ending_client),
    "a provider refuses": Fault("unreachable", "ECONNREFUSED", lambda world, _: stopped(world)),
    "a provider is silent": Fault("unreachable", "ETIMEDOUT", lambda world, _: world.without_address(PROVIDER)),
    SLOW: Fault("unreachable", "the provider takes the time", lambda world, _: world.tls(pause=1.5)),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ill.made(lab, "ill", tmp_path_factory.mktemp("world")) as made:
        yield made


def diagnosed(host: Host, *arguments: str, slow: bool = False) -> tuple[int, dict[str, Any]]:
    """The exit code and the report. Looked at again where a provider is slow (`slow` False), as a busy machine makes
    one for a moment."""
    for _ in range(LOOKS):
        done = host.hostguard("diagnose", "--format", "json", *arguments)
        assert done.stdout, done.stderr
        (found,) = json.loads(done.stdout)["hosts"]
        if slow or not any(" ms, of which" in str(each) for each in found["findings"]):
            break
    return done.returncode, found


def test_a_host_without_a_fault_has_no_finding(world: World) -> None:
    code, found = diagnosed(world.host)
    NAMED["none"] = [each["rule"] for each in found["findings"]]
    assert (found["findings"], found["unread"], code) == ([], [], 0)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_and_no_other(world: World, name: str) -> None:
    fault = FAULTS[name]
    host = world.host
    if fault.alone:
        host = world.lab.host("ill-too")
        ill.furnish(world, host)
    with fault.made(world, host):
        code, found = diagnosed(host, slow=name == SLOW)
    if fault.alone:
        world.lab.hosts.pop("ill-too").remove()
    NAMED[name] = [each["rule"] for each in found["findings"]]
    assert ({*NAMED[name]}, found["unread"], code) == ({fault.rule}, [], 1), found["findings"]
    assert any(fault.says in " ".join(map(str, each.values())) for each in found["findings"]), found["findings"]


def test_hosts_are_looked_at_from_elsewhere_and_one_that_is_not_seen_hides_no_other(world: World) -> None:
    fleet, folder = world.fleet, world.folder
    (folder / "policy.yml").write_text(ill.POLICY)
    fleet.write_inventory({"ill": world.host.address.ipv4, "gone": "10.77.0.250"})
    argv = [sys.executable, "-m", "hostguard", "diagnose", "-p", str(folder / "policy.yml"), "--format", "json"]
    with world.second.silent():
        done = fleet.run([*argv, "-i", str(fleet.inventory), "--answer-within", whole(60) + "s"])
        by_ansible = {each["host"]: each for each in json.loads(done.stdout)["hosts"]}
        uri = ["--host", f"podman://{world.host.container}", "--host", "podman://nobody"]
        at_once = subprocess.run([*argv, *uri], capture_output=True, text=True, check=False)
        by_podman = json.loads(at_once.stdout)["hosts"]
    assert (done.returncode, at_once.returncode) == (1, 1), done.stderr + at_once.stderr
    for each in (by_ansible["ill"], by_podman[0]):
        assert [(one["rule"], one["subject"]) for one in each["findings"]] == [("lookups", f"resolver {SECOND}")]
        assert each["unread"] == []
    assert by_ansible["gone"]["error"]
    assert by_podman[1]["error"]


def test_without_probes_nobody_hears_of_it(world: World) -> None:
    asked = world.first.log.read_text()
    with world.tls("leaf over"):
        code, found = diagnosed(world.host, "--no-probe")
    assert (found["findings"], code) == ([], 0)
    assert {each["rule"] for each in found["left_out"]} >= {"tls", "unreachable", "lookups"}
    assert world.first.log.read_text() == asked


def test_a_word_narrows_it(world: World) -> None:
    with world.tls("leaf over"), stopped(world):
        _, payments = diagnosed(world.host, "payments")
        _, letters = diagnosed(world.host, "letters")
    assert {each["rule"] for each in payments["findings"]} == {"tls"}
    assert {each["rule"] for each in letters["findings"]} == {"unreachable"}


def test_a_host_that_is_well_again_has_no_finding(world: World) -> None:
    code, found = diagnosed(world.host)
    NAMED["none, after all of them"] = [each["rule"] for each in found["findings"]]
    assert (found["findings"], code) == ([], 0)


def test_the_confusion_table(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(confusion(NAMED))
    for name, found in NAMED.items():
        assert {*found} == ({FAULTS[name].rule} if name in FAULTS else set()), name
