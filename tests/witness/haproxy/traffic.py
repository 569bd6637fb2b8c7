"""Clients of a balancer and the provider behind all of it, as programs that count: `provider FOLDER ADDRESS`,
`clients FOLDER CERTIFICATE ADDRESS PORT SOURCE`, and `once` with the same words.

Each request has a path of its own, so that one which is lost and one which arrives twice are both seen. On SIGTERM they
end, and print what they counted.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import ssl
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from tests.gateway.provider import Provider

NAME = "balancer.example.org"
PAUSE = 0.005
"""Seconds between two requests of one client."""


class Connection(http.client.HTTPConnection):
    """`certificate` "" shows none."""

    def __init__(self, folder: Path, certificate: str, address: str, port: int, source: str) -> None:
        super().__init__(address, port, timeout=120)
        self.source = source
        self.context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        if certificate:
            self.context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")

    def connect(self) -> None:
        where = (self.host, self.port)
        plain = socket.create_connection(where, self.timeout, (self.source, 0))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self.context.wrap_socket(plain, server_hostname=NAME)


def ask(wire: Connection, method: str, path: str) -> str:
    """The status, or the error."""
    try:
        wire.request(method, path, b"{}" if method == "POST" else None)
        answer = wire.getresponse()
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException) as error:
        wire.close()
        return repr(error)


def clients(folder: Path, certificate: str, address: str, port: int, source: str) -> dict[str, Any]:
    """Four at once: on connections that are kept and on new ones, what may be sent again and what may not."""
    end, got = stopped(), dict[str, str]()

    def run(method: str, kept: bool) -> None:
        wire = Connection(folder, certificate, address, port, source)
        number = 0
        while not end.is_set():
            path = f"/{method}/{'kept' if kept else 'new'}/{number}"
            got[path] = ask(wire, method, path)
            number += 1
            if not kept:
                wire.close()
            end.wait(PAUSE)

    threads = [threading.Thread(target=run, args=each) for each in (("GET", True), ("GET", False), ("POST", True),
                                                                    ("POST", False))]  # fmt: skip
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    for thread in threads:
        thread.join()
    return got


def provider(folder: Path, address: str) -> dict[str, Any]:
    """How often each path arrived."""
    end = stopped()
    with Provider(address, 443, folder) as found:
        print("ready", flush=True)
        end.wait()
    return Counter(request.path for request in found.seen)


def stopped() -> threading.Event:
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    return end


def main() -> None:
    what, folder, *rest = sys.argv[1:]
    if what == "provider":
        print(json.dumps(provider(Path(folder), *rest)))
        return
    certificate, address, port, source = rest
    if what == "clients":
        print(json.dumps(clients(Path(folder), certificate, address, int(port), source)))
        return
    with contextlib.closing(Connection(Path(folder), certificate, address, int(port), source)) as wire:
        print(ask(wire, "GET", "/once"))


if __name__ == "__main__":
    main()
