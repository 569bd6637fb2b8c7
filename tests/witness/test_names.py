"""Names on a whole host: a provider that moves while it is called, and what no resolver may hear of."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.lab import Host, Lab, diff
from tests.lab.network import BRIDGE, RESOLVER
from tests.patience import answer, whole
from tests.witness import policy
from tests.witness.name_server import NameServer

pytestmark = pytest.mark.needs("lab")

NAME, OTHER, INSIDE = "api.provider.com", "files.provider.com", "vault.internal"
# Anybody's, unlike those of documentation, which dnsmasq takes for private ones. They are the world's here.
POOL = [f"9.9.9.{number}" for number in range(1, 9)]
POOL_V6 = [f"2620:fe::{number}" for number in range(1, 9)]
PRIVATE = "10.0.0.8"
BY_NAME = ('cidrs: [203.0.113.5/32, "2001:db8::5/128"]', f"hosts: [{NAME}]")
OTHER_NAME = (BY_NAME[0], f"hosts: [{OTHER}]")
BOTH_NAMES = (BY_NAME[0], f"hosts: [{NAME}, {OTHER}]")
WITH_VAULT = ("vault: {cidrs: [10.0.0.8/32], ports: [8200], users: [vault-agent]}",
              f"vault: {{hosts: [{INSIDE}], ports: [443], users: [envoy]}}")  # fmt: skip

# Says `world` to whoever comes, and then whatever it hears.
ECHO = """
import socket, sys, threading
def serve(connection):
    try:
        connection.sendall(b"world")
        while said := connection.recv(99):
            connection.sendall(said)
    except OSError:
        pass
def listen(address):
    listener = socket.create_server((address, 443), family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                                    backlog=512)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
for address in sys.argv[1:]:
    threading.Thread(target=listen, args=(address,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""
# Connects by name, over and over, as any program does; the last line says how often, where to, and what went wrong: so
# is a SYN that had to be sent again, by the kernel's count (tcpi_total_retrans in linux/tcp.h).
CALLERS = """
import json, os, socket, sys, threading
until, trouble, reached, calls = sys.argv[2], [], set(), [0]
def call():
    while not os.path.exists(until):
        try:
            with socket.create_connection((sys.argv[1], 443), timeout=float(sys.argv[3])) as connection:
                again = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[100:]
                assert not any(again), "sent again"
                assert connection.recv(9) == b"world"
                reached.add(connection.getpeername()[0])
                calls[0] += 1
        except Exception as error:
            trouble.append(repr(error))
callers = [threading.Thread(target=call) for _ in range(4)]
[caller.start() for caller in callers]
[caller.join() for caller in callers]
print(json.dumps({"calls": calls[0], "reached": sorted(reached), "trouble": trouble}))
"""
# One connection to a name, held open: each line that it is given goes there, and what comes back is told.
FLOW = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 443), timeout=float(sys.argv[2]))
connection.recv(5)
print(connection.getpeername()[0], flush=True)
for line in sys.stdin:
    try:
        connection.sendall(line.encode())
        print(connection.recv(99).decode().strip(), flush=True)
    except TimeoutError:
        print("silence", flush=True)
"""


class Flow:
    def __init__(self, host: Host, name: str) -> None:
        argv = ["podman", "exec", "--interactive", host.container, "runuser", "-u", "envoy", "--", "python3", "-c"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen([*argv, FLOW, name, whole(3)], **pipes)  # type: ignore[call-overload]
        self.address = self._hear()

    def _hear(self) -> str:
        return str(self.process.stdout.readline().strip())

    def say(self, word: str) -> str:
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return self._hear()

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def upstream(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NameServer]:
    for address in (*POOL, *POOL_V6):
        lab.world.run(["ip", "address", "add", address, "dev", BRIDGE, *(["nodad"] if ":" in address else [])])
    server = NameServer(lab, RESOLVER, tmp_path_factory.mktemp("upstream"))
    echo = lab.world.start_program([sys.executable, "-c", ECHO, *POOL, *POOL_V6, PRIVATE])
    assert echo.stdout is not None
    assert echo.stdout.readline().strip() == "ready"
    yield server
    echo.kill()
    echo.wait()
    server.stop()


@pytest.fixture(scope="module")
def host(lab: Lab) -> Host:
    return lab.host("names")


@pytest.fixture(scope="module", params=["nft", "legacy"])
def either(request: pytest.FixtureRequest, lab: Lab, host: Host) -> Host:
    return host if request.param == "nft" else lab.host("names-legacy", backend="legacy")


def apply(host: Host, *changes: tuple[str, str]) -> str:
    policy.install(host, *changes)
    done = host.hostguard("apply", "--yes", "--confirm-within", "0")
    assert done.returncode == 0, done.stderr
    return done.stdout


def changes(before: dict[str, str], host: Host) -> list[str]:
    """What differs, but for the policy, and a key that the kernel makes when dnsmasq listens."""
    lines = diff(before, host.dump(), ignore=["legacy tables"])
    return [line for line in lines if "tcp_fastopen_key" not in line and policy.PLACE not in line]


def reaches(host: Host, to: str, account: str = "envoy") -> bool:
    call = ["runuser", "-u", account, "--", "nc", "-z", "-w", whole(1), to, "443"]
    return host.run(call, check=False).returncode == 0


def entries(host: Host, what: str) -> list[str]:
    """The addresses in a set for new (NEW) or open (OPEN) connections of the name, as the kernel has them."""
    lines = host.out("ipset save").splitlines()
    return sorted(line.split()[2] for line in lines if line.startswith("add hostguard-") and f"-{what}-" in line)


def status(host: Host, control: str) -> str:
    results = json.loads(host.hostguard("audit", "--format", "json").stdout)["hosts"][0]["results"]
    return next(f"{r['status']} {r['actual']}" for r in results if r["id"] == control)


def test_a_name_is_reached_and_nothing_else_is_heard_of(upstream: NameServer, host: Host) -> None:
    upstream.answer({NAME: [POOL[0], POOL_V6[0]], OTHER: [POOL[1]], "enemy.example": [POOL[2]]})
    assert reaches(host, "enemy.example"), "what can't be reached before proves nothing after"
    policy.install(host, BY_NAME)
    before = host.dump()
    flow = Flow(host, NAME)
    apply(host, BY_NAME)
    assert flow.say("older than the rules") == "older than the rules"
    flow.end()
    asked = upstream.asked()
    assert reaches(host, NAME)
    assert not reaches(host, POOL[0], "root")
    others = ("stolen-data.enemy.example", OTHER, f"stolen-data.{NAME}", "provider.com", "localhost.localdomain")
    for name in others:
        assert host.run(["runuser", "-u", "envoy", "--", "getent", "ahosts", name], check=False).returncode == 2
    assert host.run(["timeout", "1", "getent", "ahosts", NAME], check=False).returncode, "root is no resolver user"
    assert upstream.asked() - asked <= {NAME}
    assert not reaches(host, POOL[1])
    # Nobody asks the resolver past the host's own; dnsmasq's account alone does.
    told = "printf 'x' | runuser -u {} -- timeout 1 nc -u -w 1 " + RESOLVER + " 53; iptables -nvxL HOSTGUARD-OUTPUT"
    counts = [host.out(told.format(who)).splitlines()[-1].split()[0] for who in ("envoy", "dnsmasq")]
    assert counts[0] == counts[1], "the second one's was not dropped"
    assert status(host, "egress.names").startswith("pass")
    assert status(host, "egress.stale-names").startswith("pass")
    done = host.hostguard("rollback", "--to", "0", "--yes")
    assert done.returncode == 0, done.stderr
    assert changes(before, host) == []


def test_a_provider_that_moves_under_load_loses_nobody(upstream: NameServer, host: Host) -> None:
    upstream.answer({NAME: [POOL[0]]})
    apply(host, BY_NAME)
    argv = ["podman", "exec", host.container, "runuser", "-u", "envoy", "--", "python3", "-c", CALLERS, NAME,
            "/run/enough", whole(5)]  # fmt: skip
    callers = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    for ipv4, ipv6 in zip(POOL, POOL_V6, strict=True):
        upstream.answer({NAME: [ipv4, ipv6]})
        there = " && ".join(f"ipset test {set_of(host, address)} {address}" for address in (ipv4, ipv6))
        host.run(f"until {{ {there}; }} 2>/dev/null; do sleep 0.05; done", timeout=20)
    host.run("touch /run/enough")
    said = json.loads(answer(callers)[0])
    host.run("rm /run/enough")
    assert said["trouble"] == []
    assert len(said["reached"]) >= len(POOL)
    assert said["calls"] > 100


def set_of(host: Host, address: str) -> str:
    """The set for new connections of the only name."""
    family = "6" if ":" in address else "4"
    return next(name for name in host.out("ipset -n list").split() if name.startswith(f"hostguard-{family}-NEW-"))


def test_an_open_connection_outlives_its_address(upstream: NameServer, either: Host) -> None:
    host = either
    upstream.answer({NAME: [POOL[0]]})
    apply(host, BY_NAME)
    host.run(
        f"runuser -u envoy -- sh -c 'until getent ahosts {NAME} | grep -q {POOL[0]}; do sleep 0.1; done'", timeout=20
    )
    flow = Flow(host, NAME)
    try:
        assert flow.address == POOL[0]
        # What its time does, an hour later.
        host.run(["ipset", "del", set_of(host, POOL[0]), POOL[0]])
        upstream.answer({NAME: [POOL[1]]})
        assert flow.say("still here") == "still here"
        assert not reaches(host, POOL[0])
        with upstream.silent():
            host.run("sleep 1.1")  # the answer's own time
            assert flow.say("without a resolver") == "without a resolver"
        assert reaches(host, NAME)
        with upstream.silent():
            assert reaches(host, POOL[1]), "whoever kept the address goes on"

        apply(host, OTHER_NAME)
        assert flow.say("after the name is gone") == "silence"
        assert entries(host, "NEW") == entries(host, "OPEN") == []
        assert host.run(["runuser", "-u", "envoy", "--", "getent", "ahosts", NAME], check=False).returncode == 2
    finally:
        flow.end()


def test_what_a_process_has_read_of_a_changed_file_goes_with_the_change(upstream: NameServer, host: Host) -> None:
    upstream.answer({NAME: [POOL[0]]})
    apply(host, BY_NAME)
    host.run(f"echo address=/enemy.example/{POOL[2]} >> /etc/hostguard/egress/names.conf")
    host.run("systemctl restart hostguard-names")
    ask = ["runuser", "-u", "envoy", "--", "getent", "ahosts", "enemy.example"]
    assert host.run(ask, check=False).returncode == 0
    apply(host, BY_NAME)
    assert host.run(ask, check=False).returncode == 2
    assert "Nothing to change" in apply(host, BY_NAME)


def test_what_was_answered_outlives_a_reload_and_a_boot_starts_anew(upstream: NameServer, host: Host) -> None:
    upstream.answer({NAME: [POOL[0]], OTHER: [POOL[1]]}, ttl=100)
    apply(host, BY_NAME)
    flow = Flow(host, NAME)
    try:
        apply(host, BOTH_NAMES)
        assert {POOL[0], POOL[1]} <= set(entries(host, "NEW")), "what was answered, and what nobody has asked for yet"
        assert flow.say("through the reload") == "through the reload"
        host.run("systemctl restart hostguard-names hostguard-egress")
        assert POOL[0] in entries(host, "OPEN")
        assert flow.say("through the restart") == "through the restart"
        host.run("systemctl kill --signal=KILL hostguard-names")
        host.run("until systemctl is-active -q hostguard-names; do sleep 0.05; done", timeout=20)
        assert reaches(host, NAME)
    finally:
        flow.end()
    assert host.reboot() == "running"
    assert host.out("systemctl is-active hostguard-names") == "active"
    assert entries(host, "OPEN") == []
    assert reaches(host, NAME)
    assert POOL[0] in entries(host, "OPEN")
    assert status(host, "egress.names").startswith("pass")
    assert status(host, "egress.boot").startswith("pass")


def test_a_third_party_s_name_opens_no_way_inside(upstream: NameServer, host: Host) -> None:
    upstream.answer({NAME: ["169.254.169.254", PRIVATE], INSIDE: [PRIVATE]})
    apply(host, BY_NAME, WITH_VAULT)
    host.run(["runuser", "-u", "envoy", "--", "getent", "ahosts", NAME], check=False)
    host.run(["runuser", "-u", "envoy", "--", "getent", "ahosts", INSIDE])
    assert PRIVATE in entries(host, "NEW")
    assert "169.254.169.254" not in entries(host, "NEW")
    assert reaches(host, INSIDE)
    assert not reaches(host, NAME)


def test_without_dnsmasq_nothing_is_touched(host: Host) -> None:
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    policy.install(host, BY_NAME)
    host.run("mv /usr/sbin/dnsmasq /root")
    try:
        done = host.hostguard("apply", "--yes", "--confirm-within", "0")
        assert done.returncode == 1
        assert "dnsmasq is not installed on this host: install it (Debian: dnsmasq-base)" in done.stderr
    finally:
        host.run("mv /root/dnsmasq /usr/sbin")
    assert host.run("ls /etc/hostguard/egress", check=False).returncode
    assert RESOLVER in host.out("cat /etc/resolv.conf")


@pytest.mark.parametrize("path", ["/etc/resolv.conf", "/etc/hostguard/egress/names.conf"])
def test_a_file_that_is_mounted_by_itself_is_written_in_place(upstream: NameServer, host: Host, path: str) -> None:
    """As podman, docker and Molecule give every container its /etc/resolv.conf; the lab's hosts have it unmounted."""
    upstream.answer({NAME: [POOL[0]], OTHER: [POOL[1]]})
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode in (0, 2)
    if "names.conf" in path:
        apply(host, OTHER_NAME)
    host.run(f"cp -p {path} /run/of-the-engine && mount --bind /run/of-the-engine {path}")
    policy.install(host, BY_NAME)
    before = host.dump()
    apply(host, BY_NAME)
    assert host.run(["mountpoint", "-q", path], check=False).returncode == 0
    assert reaches(host, NAME)
    assert status(host, "egress.names").startswith("pass")
    assert "Nothing to change" in apply(host, BY_NAME)
    assert host.hostguard("rollback", "--yes", "--confirm-within", "0").returncode == 0
    left = [line for line in changes(before, host) if "initval" not in line and "add hostguard-" not in line]
    assert left == []
    host.run(["umount", path])


def test_an_immutable_resolv_conf_is_said_before_and_keeps_its_resolver(upstream: NameServer, host: Host) -> None:
    upstream.answer({NAME: [POOL[0]]})
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode in (0, 2)
    policy.install(host, BY_NAME)
    before = host.dump()
    host.run("chattr +i /etc/resolv.conf")
    try:
        done = host.hostguard("apply", "--yes", "--confirm-within", "0")
        said = " ".join(done.stderr.split())
        assert "/etc/resolv.conf is immutable, and can't be replaced: `chattr -i /etc/resolv.conf`" in said
        assert "nothing was touched" in said
        assert changes(before, host) == []
        policy.install(host)
        assert host.hostguard("apply", "--yes", "--confirm-within", "0").returncode == 0
        assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
        host.run("chattr -i /etc/resolv.conf")
        apply(host, BY_NAME)
        host.run("chattr +i /etc/resolv.conf")
        done = host.hostguard("rollback", "--to", "0", "--yes")
        assert done.returncode == 1
        assert "lookup: " in done.stdout + done.stderr
        assert host.out("systemctl is-active hostguard-names.service") == "active"
        assert host.run(["runuser", "-u", "envoy", "--", "getent", "ahosts", NAME], check=False).returncode == 0
    finally:
        host.run("chattr -i /etc/resolv.conf")
    assert host.hostguard("rollback", "--to", "0", "--yes").returncode == 0
    policy.install(host, BY_NAME)
    assert changes(before, host) == []


def test_where_it_only_observes_every_name_is_answered(upstream: NameServer, host: Host) -> None:
    upstream.answer({NAME: [POOL[0]], "enemy.example": [POOL[2]]})
    apply(host, BY_NAME, ("mode: enforce ", "mode: observe "))
    assert reaches(host, "enemy.example")
    assert reaches(host, NAME)
    assert entries(host, "NEW") == [POOL[0]]
