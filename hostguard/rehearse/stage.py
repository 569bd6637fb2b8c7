"""The play: a small host with the policy's accounts, the real apply, and every attempt before and after it."""

from __future__ import annotations

import contextlib
import ctypes
import encodings.idna  # noqa: F401 - who looks a name up may be an account that can not read our Python
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from hostguard.controls.egress import names
from hostguard.controls.egress.allowlist import ASKER
from hostguard.host import transaction, way_back
from hostguard.host.kinds import ruleset
from hostguard.host.kinds.sysctl import path_of
from hostguard.host.program import find, run
from hostguard.host.resource import HostError, Resource
from hostguard.rehearse import frames, links
from hostguard.rehearse.attempts import STRANGER, Attempt
from hostguard.rehearse.namespaces import die_with_parent
from hostguard.rehearse.world import QUESTION, TIMEOUT, WIRE, Outside, container, world

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x8, 0x4000, 0x40000
NOBODY = 65534
FIRST_ACCOUNT = 2000
# What programs read there; everything else of /etc is the rehearsal's own.
KEPT = ("alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "protocols", "services", "localtime")
NEEDS_SYSTEMD = ("unit", "slice", "process")
Tell = Callable[[dict[str, Any]], None]

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"can't mount {kind} at {target}: {os.strerror(code)}")


def play(
    bundle: dict[str, Any], tries: Iterable[Attempt], names: Iterable[str], all_accounts: bool, tell: Tell
) -> None:
    """Set the stage, try, apply, try again, go back; tell what happens, one dict a step."""
    accounts = furnish(names, all_accounts)
    able, unable = rehearsable(bundle["resources"])
    for reason in unable:
        tell({"not rehearsed": reason})
    stage = Stage(accounts, list(tries), all_accounts)
    untouched = firewall()
    tell({"step": "trying every way out, as the host is"})
    for number, attempt in enumerate(stage.tries):
        tell({"try": number, "when": "before", **stage.attempt(attempt)})
    tell({"step": "applying the policy"})
    options = {"confirm_within": 0, "restart": False, "check": False}
    bundle = {**bundle, "resources": able, "evidence": {}}
    applied = transaction.apply(bundle, options, lambda _: None)
    tell({"applied": applied})
    if applied["outcome"] != "applied":
        return
    tell({"again": transaction.apply(bundle, options, lambda _: None)})
    tell({"step": "trying every way out again"})
    with resolver(able, all_accounts):
        for number, attempt in enumerate(stage.tries):
            tell({"try": number, "when": "after", **stage.attempt(attempt)})
    tell({"step": "rolling back"})
    rolled = way_back.rollback(0, lambda _: None)
    tell({"rolled back": rolled, "identical": firewall() == untouched})


@contextlib.contextmanager
def resolver(applied: list[Resource], all_accounts: bool) -> Iterator[None]:
    """dnsmasq as it was configured, where it was: on a host systemd runs it."""
    if not any(resource["id"] == f"file:{names.CONFIGURATION}" for resource in applied):
        yield
        return
    # With one account alone there is none to change to.
    who = ["--keep-in-foreground", f"--user={ASKER}", "--group="] if all_accounts else ["--no-daemon"]
    argv = [str(find("dnsmasq")), f"--conf-file={names.CONFIGURATION}", "--pid-file=", "--log-facility=-", *who]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as running:
        said = ""
        while " started, version " not in said:
            line = running.stderr.readline() if running.stderr else ""
            said += line
            if not line:
                raise HostError(f"dnsmasq did not start: {said.strip()}")
        try:
            yield
        finally:
            running.kill()


def firewall() -> list[str]:
    """The rules and sets of the stage, without counters and without the empty tables that legacy iptables leaves."""
    said = run(["ipset", "save"]).stdout.splitlines()
    for family in ruleset.COMMAND:
        for table, text in ruleset.tables(family).items():
            kept = (line.partition(" [")[0] for line in text.splitlines() if line.startswith((":", "-A ")))
            said += [f"{family} {table} {line}" for line in kept if not line.endswith(" ACCEPT") or line[0] == "-"]
    return said


def rehearsable(resources: list[Resource]) -> tuple[list[Resource], list[str]]:
    """What can be applied here, and what can't, in a line each."""
    able, unable = [], []
    systemd = 0
    without = find("dnsmasq") is None and any(resource["control"] == names.CONTROL for resource in resources)
    if without:
        unable.append("names: dnsmasq is not installed here (Debian: dnsmasq-base)")
    for resource in resources:
        if without and resource["control"] == names.CONTROL and resource["kind"] != "ipset":
            continue
        if resource["kind"] in NEEDS_SYSTEMD:
            systemd += 1
        elif resource["kind"] == "sysctl" and not of_this_namespace(resource["key"]):
            unable.append(f"{resource['key']}: the whole machine's, not this namespace's")
        elif resource["kind"] == "mount" and not make_room(resource["path"]):
            unable.append(f"{resource['path']}: only a rehearsal as root could mount there")
        else:
            able.append(resource)
    if systemd:
        unable.append(f"{systemd} units, slices and processes: no systemd runs here (plan shows them)")
    return able, unable


def of_this_namespace(key: str) -> bool:
    """Whether a parameter is the network namespace's own. Others must not even be tried: run by root, the
    rehearsal's root is the machine's, and may write them."""
    return key.startswith("net.") and os.access(path_of(key), os.W_OK)


def make_room(path: str) -> bool:
    """Let a mount point be made: the stage's own /run, /etc and /var/lib take it, elsewhere a tmpfs above it."""
    if path.startswith(("/run/", "/etc/", "/var/lib/")):
        return True
    top = "/" + path.split("/")[1]
    needed = (sys.prefix, sys.base_prefix, str(Path(__file__).resolve()), "/usr", "/proc", "/sys", "/dev")
    if not Path(top).is_dir() or any((place + "/").startswith(top + "/") for place in needed):
        return False
    mount("tmpfs", top, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    return True


def furnish(names: Iterable[str], all_accounts: bool) -> dict[str, int]:
    """A mount namespace with an /etc, /run and /var/lib of its own; the accounts by name."""
    mount("none", "/", "none", MS_REC | MS_PRIVATE)
    try:
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    except OSError as error:
        raise OSError(
            error.errno, f"{error.strerror}: in a container, give it an unmasked /proc or rehearse outside of it"
        ) from None
    kept = {name: _keep(Path("/etc") / name) for name in KEPT if (Path("/etc") / name).exists()}
    for folder in ("/etc", "/run", "/var/lib"):
        mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for name, put in kept.items():
        put(Path("/etc") / name)
    ordered = sorted(set(names) - {"root", STRANGER})
    # Root comes first: with one account alone, its number is everybody's, and its name the one that is found.
    numbers = {"root": 0, STRANGER: NOBODY if all_accounts else 0}
    numbers |= {name: FIRST_ACCOUNT + at if all_accounts else 0 for at, name in enumerate(ordered)}
    files = {
        "passwd": "".join(f"{name}:x:{uid}:{uid}::/:/bin/false\n" for name, uid in numbers.items()),
        "group": "".join(f"{name}:x:{uid}:\n" for name, uid in numbers.items()),
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: dns\nprotocols: files\nservices: files\n",
    }
    for name, text in files.items():
        (Path("/etc") / name).write_text(text, encoding="ascii")
    return numbers


def _keep(path: Path) -> Callable[[Path], None]:
    """Remember a file, link or folder of links, to be put back into the new /etc."""
    if path.is_dir():
        children = {child.name: _keep(child) for child in path.iterdir() if os.access(child, os.R_OK)}

        def put_folder(at: Path) -> None:
            at.mkdir()
            for name, put in children.items():
                put(at / name)

        return put_folder
    if path.is_symlink():
        target = path.readlink()
        return lambda at: at.symlink_to(target)
    content = path.read_bytes()

    def put_file(at: Path) -> None:
        at.write_bytes(content)

    return put_file


class Stage:
    """The host, wired to the world and to a container; a child process for every attempt."""

    def __init__(self, accounts: dict[str, int], tries: list[Attempt], all_accounts: bool) -> None:
        self.accounts, self.tries, self.all_accounts = accounts, tries, all_accounts
        # One CPU for all: then the kernel deals with packets in the order in which they were sent.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        links.up("lo")
        self.world, self.container = Outside(world), Outside(container)
        links.wire("host0", WIRE, self.world.pid)
        links.wire("host1", "eth0", self.container.pid)
        links.address("host0", links.HOST, links.HOST_V6)
        links.address("host1", links.HOST_TO_CONTAINER, links.HOST_TO_CONTAINER_V6)
        heard = {"tcp": "tcp", "udp": "udp", "name": "tcp"}
        ports = sorted({(heard[a.way], a.port) for a in self.tries if a.sanctioned and a.way in heard})
        asked = self.world.ask(hardware=frames.hardware_address("host0").hex(), ports=ports)
        self.outer_hardware = bytes.fromhex(asked["hardware"])
        links.peer("host0", self.outer_hardware, links.WORLD, links.WORLD_V6)
        inner = self.container.ask(hardware=frames.hardware_address("host1").hex())
        links.peer("host1", bytes.fromhex(inner["hardware"]), links.CONTAINER, links.CONTAINER_V6)
        links.default_route(links.WORLD, links.WORLD_V6)
        links.forward()
        self.wire = frames.tap("host0")
        self.hardware = frames.hardware_address("host0")
        self.sentinels = 0

    def seen(self) -> list[frames.Packet]:
        """What came out since the last look, up to this moment."""
        self.sentinels += 1
        self.wire.send(frames.sentinel(self.hardware, self.sentinels))
        return [frames.Packet(**packet) for packet in self.world.ask(do="seen", sentinel=self.sentinels)]

    def attempt(self, attempt: Attempt) -> dict[str, Any]:
        """{"left": a packet of it came out, "works": it was answered}, or {"not tried": why}."""
        if attempt.by_account and not self.all_accounts:
            return {"not tried": "one account only"}
        self.seen()
        if attempt.way == "answer":
            return self._answer(attempt)
        if attempt.way == "forward":
            port = self.container.ask(address=attempt.address, port=attempt.port)["port"]
            left = self._left(attempt.address, frames.TCP, port)
            return {"left": left, "works": left}  # the world has no way back to a container
        if attempt.way == "frame":
            return self._frame()
        said = self._as_account(attempt)
        protocol = said["protocol"]
        if attempt.way == "loopback":
            return {"left": False, "works": said["works"]}
        return {"left": self._left(attempt.address, protocol, said["port"]), "works": said["works"]}

    def _left(self, address: str, protocol: int, port: int) -> bool:
        return any(
            (packet.destination, packet.protocol) == (address, protocol) and packet.source_port in (port, 0)
            for packet in self.seen()
        )

    def _answer(self, attempt: Attempt) -> dict[str, Any]:
        family = frames.family_of(attempt.source)
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("", attempt.port))
            listener.listen()
            child = os.fork()
            if child == 0:
                die_with_parent()
                connection, _ = listener.accept()
                connection.sendall(b"host")
                os._exit(0)
            try:
                answer: dict[str, Any] = self.world.ask(
                    do="connect", source=attempt.source, port=attempt.port, talk=bool(attempt.sanctioned)
                )
            finally:
                os.kill(child, 9)
                os.waitpid(child, 0)
        return answer

    def _frame(self) -> dict[str, Any]:
        enemy = "198.51.100.66"
        with contextlib.suppress(OSError):  # what the egress hook drops is refused to the sender (ENOBUFS)
            self.wire.send(frames.udp_over_ipv4(self.hardware, self.outer_hardware, links.HOST, enemy))
        return {"left": any(packet.destination == enemy for packet in self.seen()), "works": False}

    def _as_account(self, attempt: Attempt) -> dict[str, Any]:
        """Try it in a child that has become the account."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            _become(self.accounts[attempt.account], write, attempt)
        os.close(write)
        with os.fdopen(read, encoding="utf-8") as answer:
            said: dict[str, Any] = json.loads(answer.read() or '{"protocol": 0, "port": 0, "works": false}')
        os.waitpid(child, 0)
        return said


def _become(uid: int, write: int, attempt: Attempt) -> NoReturn:
    with contextlib.suppress(OSError):
        os.setgroups([])  # refused where only our own account is mapped
    if uid:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    die_with_parent()
    try:
        answer = TRIES[attempt.way](attempt)
    except OSError as error:
        answer = {"protocol": 0, "port": 0, "works": False, "error": str(error)}
    os.write(write, json.dumps(answer).encode())
    os._exit(0)


def _tcp(attempt: Attempt) -> dict[str, Any]:
    with socket.socket(frames.family_of(attempt.address), socket.SOCK_STREAM) as caller:
        if attempt.source_port:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            caller.bind(("", attempt.source_port))
        caller.settimeout(TIMEOUT if attempt.sanctioned else 0)
        works = False
        with contextlib.suppress(OSError):
            caller.connect((attempt.address, attempt.port))
            works = caller.recv(16) == b"world"
        return {"protocol": frames.TCP, "port": caller.getsockname()[1], "works": works}


def _name(attempt: Attempt) -> dict[str, Any]:
    """As any program does: ask for the address, and connect to it."""
    try:
        address = socket.gethostbyname(attempt.address)
    except OSError:
        return {"protocol": frames.TCP, "port": 0, "works": False}
    return _tcp(replace(attempt, address=address))


def _udp(attempt: Attempt) -> dict[str, Any]:
    with socket.socket(frames.family_of(attempt.address), socket.SOCK_DGRAM) as caller:
        caller.connect((attempt.address, attempt.port))
        caller.settimeout(TIMEOUT if attempt.sanctioned else 0)
        works = False
        with contextlib.suppress(OSError):
            caller.send(QUESTION)
            works = caller.recv(16) == QUESTION
        return {"protocol": frames.UDP, "port": caller.getsockname()[1], "works": works}


def _raw(attempt: Attempt) -> dict[str, Any]:
    return _send_raw(attempt, attempt.port, b"nothing to see")


def _icmp(attempt: Attempt) -> dict[str, Any]:
    v4 = frames.family_of(attempt.address) == socket.AF_INET
    kind = 8 if v4 else 128  # echo request
    protocol = socket.IPPROTO_ICMP if v4 else socket.IPPROTO_ICMPV6
    checksum = ~(kind << 8) & 0xFFFF if v4 else 0  # the kernel writes ICMPv6's own
    return _send_raw(attempt, protocol, bytes([kind, 0]) + checksum.to_bytes(2, "big") + b"\0" * 4)


def _neighbour(attempt: Attempt) -> dict[str, Any]:
    """As a neighbour would be asked for, with a kilobyte of somebody's data behind it: a router forwards it."""
    solicitation = bytes([135, 0]) + b"\0" * 6 + socket.inet_pton(socket.AF_INET6, attempt.address)
    return _send_raw(attempt, socket.IPPROTO_ICMPV6, solicitation + b"\0" * 1000, hops=255)


def _send_raw(attempt: Attempt, protocol: int, body: bytes, hops: int = 64) -> dict[str, Any]:
    with socket.socket(frames.family_of(attempt.address), socket.SOCK_RAW, protocol) as caller:
        if caller.family == socket.AF_INET6:
            caller.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        with contextlib.suppress(PermissionError):  # so OUTPUT says no
            caller.sendto(body, (attempt.address, 0))
        return {"protocol": protocol, "port": 0, "works": False}


def _loopback(attempt: Attempt) -> dict[str, Any]:
    with socket.socket() as listener, socket.socket() as caller:
        listener.bind((attempt.address, 0))
        listener.listen()
        caller.settimeout(TIMEOUT)
        works = False
        with contextlib.suppress(OSError):
            caller.connect(listener.getsockname())
            works = True
        return {"protocol": frames.TCP, "port": 0, "works": works}


TRIES: dict[str, Callable[[Attempt], dict[str, Any]]] = {
    "tcp": _tcp,
    "name": _name,
    "udp": _udp,
    "raw": _raw,
    "icmp": _icmp,
    "neighbour": _neighbour,
    "loopback": _loopback,
}
