"""What a new connection costs under an allowlist of 100,000 CIDRs, against one of a single CIDR."""

from __future__ import annotations

import encodings.idna  # noqa: F401 - connecting looks it up, and the account may not read the Python of root
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from hostguard.host.kinds import ipset, ruleset
from hostguard.host.resource import Resource
from hostguard.rehearse.namespaces import CLONE_NEWNET, die_with_parent, unshare
from tests.bench.allowlist import ACCOUNT, MANY, PORT, PROVIDER, hosts, mixed, policy, resources
from tests.bench.figure import Figure, in_turn
from tests.bench.namespace import alone

ROUNDS, CONNECTIONS = 60, 500
STRANGER = "198.51.100.66"
AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: a close resets, and no TIME_WAIT is left behind


def measure() -> list[Figure]:
    """One TCP connection opened and reset, over a veth pair to another network namespace, by the account that the
    rules name: in a host with 100,000 CIDRs by one with a single CIDR. hostguard's whole ruleset is in force in both.
    The CIDRs are single addresses, or of thirteen prefix lengths, since a set of networks is asked once for each
    length. A host without any rules gives the cost of the rules themselves."""
    times = alone(__spec__.name)
    one = f"one CIDR (medians of {CONNECTIONS} connections)"
    rows = (
        ("connect", f"{MANY:,} CIDRs, all /32", "hosts", "one", one, "≤ 1.10"),
        ("connect, mixed", f"{MANY:,} CIDRs, /20 to /32", "mixed", "one", one, "≤ 1.10"),
        ("connect, twin", "one CIDR, in a second host: the noise", "twin", "one", one, ""),
        ("connect, rules", "one CIDR", "one", "none", "no rules at all", ""),
    )
    return [
        Figure(name, ours_is, base_is, times[ours], times[base], target)
        for name, ours_is, ours, base, base_is, target in rows
    ]


class Client:
    """A host in a network namespace of its own, wired to this one, that does what it is told.

    `prepare` is done there first, and what it returns is `told`.
    """

    def __init__(self, number: int, prepare: Callable[[], Any]) -> None:
        self.pipe, theirs = Pipe()
        self.process = os.fork()
        if self.process == 0:
            self.pipe.close()
            live(number, prepare, theirs)
        theirs.close()  # so that a host that ends early is an end of file here, and not a silence
        self.pipe.recv()
        ip("link", "add", f"host{number}", "type", "veth", "peer", "name", "eth0", "netns", str(self.process))
        ip("address", "add", f"10.99.{number}.2/30", "dev", f"host{number}")
        ip("link", "set", f"host{number}", "up")
        self.pipe.send("wired")
        self.told = self.pipe.recv()

    def do(self, work: Callable[[], Any]) -> Any:
        self.pipe.send(work)
        return self.pipe.recv()

    def connect(self, times: int = CONNECTIONS) -> float:
        taken: float = self.do(partial(connect, times))
        return taken

    def end(self) -> None:
        # Told, since closing tells nothing: hosts that were forked later hold this end of the pipe, too.
        self.pipe.send(None)
        os.waitpid(self.process, 0)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def live(number: int, prepare: Callable[[], Any], pipe: Connection) -> NoReturn:
    """The host's whole life, in a child process."""
    unshare(CLONE_NEWNET)
    pipe.send("born")
    pipe.recv()
    ip("link", "set", "lo", "up")
    ip("address", "add", f"10.99.{number}.1/30", "dev", "eth0")
    ip("link", "set", "eth0", "up")
    ip("route", "add", "default", "via", f"10.99.{number}.2")
    told = prepare()
    die_with_parent()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    pipe.send(told)
    while (work := pipe.recv()) is not None:
        pipe.send(work())
    os._exit(0)


def enforce(wanted: Sequence[Resource]) -> None:
    """Bring hostguard's rules into force, and become the account that they let out."""
    for kind, module in (("ipset", ipset), ("ruleset", ruleset)):
        members = [r for r in wanted if r["kind"] == kind]
        module.write(members, module.read(members))
        seen = module.read(members)
        if any(module.differ(r, seen[r["id"]]) for r in members):
            sys.exit(f"the {kind}s of a host are not as wanted")
    os.setgroups([])
    os.setresgid(ACCOUNT, ACCOUNT, ACCOUNT)
    os.setresuid(ACCOUNT, ACCOUNT, ACCOUNT)
    if wanted and reaches(STRANGER):
        sys.exit("a host reaches an address that is not in its allowlist")


def reaches(address: str) -> bool:
    try:
        socket.create_connection((address, PORT), timeout=0.3).close()
    except OSError:
        return False
    return True


def connect(times: int) -> float:
    """Seconds a connection."""
    start = time.perf_counter()
    for _ in range(times):
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
            caller.connect((PROVIDER, PORT))
    return (time.perf_counter() - start) / times


def serve() -> None:
    """The provider, and a stranger who would answer as well. Everybody is here."""
    ip("link", "set", "lo", "up")
    for address in (PROVIDER, STRANGER):
        ip("address", "add", f"{address}/32", "dev", "lo")
    listener = socket.create_server(("", PORT), backlog=4096)

    def accept() -> None:
        while True:
            listener.accept()[0].close()

    threading.Thread(target=accept, daemon=True).start()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lists = {"one": hosts(1), "hosts": hosts(MANY), "mixed": mixed(MANY), "twin": hosts(1)}
        wanted = {name: resources(policy(cidrs, Path(folder))) for name, cidrs in lists.items()}
    wanted["none"] = []
    # The hosts are forked before there is a thread.
    clients = {name: Client(number, partial(enforce, rules)) for number, (name, rules) in enumerate(wanted.items())}
    serve()
    times = in_turn(ROUNDS, *(client.connect for client in clients.values()))
    json.dump(dict(zip(clients, times, strict=True)), sys.stdout)


if __name__ == "__main__":
    main()
