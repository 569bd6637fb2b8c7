"""Servers of the world, and callers on the host: real connections, made by programs that are not ours."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from tests.lab import Host, Lab
from tests.patience import whole

SERVER = """
import socket, sys, threading
def serve(listener):
    while True:
        connection, _ = listener.accept()
        connection.sendall(b"world\\n")
        connection.close()
for port in map(int, sys.argv[1:]):
    listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=serve, args=(listener,), daemon=True).start()
print("ready", flush=True)
threading.Event().wait()
"""


@contextlib.contextmanager
def listening(lab: Lab, *ports: int) -> Iterator[None]:
    """The world answers on these TCP ports, on all of its addresses."""
    server = lab.world.start_program([sys.executable, "-c", SERVER, *map(str, ports)])
    try:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready"
        yield
    finally:
        server.kill()
        server.wait()


def reaches(host: Host, account: str, address: str, port: int) -> bool:
    """Whether an account of the host can open a TCP connection, asked of netcat."""
    call = ["runuser", "-u", account, "--", "nc", "-z", "-w", whole(1), address, str(port)]
    return host.run(call, check=False).returncode == 0


def answers(lab: Lab, host: Host, source: str, port: int, *, to: str = "") -> bool:
    """Whether the host answers a caller from this address of the world."""
    call = ["nc", "-z", "-w", whole(1), "-s", source, to or host.address.ipv4, str(port)]
    return lab.world.run(call, check=False).returncode == 0
