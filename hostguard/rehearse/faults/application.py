"""The application: it asks as the fault's script says, on one of three ways, and writes down what it got.

It does nothing for its provider: no try more than one, a limit for the whole of a call, certificates verified. What is
better with the gateway is the gateway's.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - of every name that is connected to; the account may not read it any more
import errno
import http.client
import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from hostguard.rehearse.faults.fault import Numbers, seconds
from hostguard.rehearse.faults.result import Call, Event, Mark

PIECE = 65536
PATH = "/v1/pay"
REFUSED = {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM}
"""By whoever is there, or by a rule: a REJECT with icmp-admin-prohibited becomes EHOSTUNREACH."""


class Route(Protocol):
    """A way to the provider."""

    cap: float
    """Seconds that the application waits."""
    host: str
    keyed: bool
    """Whether the application sends the key itself."""

    def connect(self, left: float, remember: bool) -> socket.socket:
        """A connection. `left`: seconds for it. `remember` the address that was found first."""


@dataclass
class Directly:
    """Straight to the provider, as a program does that was written with care: its certificate is verified."""

    host: str
    port: int
    ca: str
    cap: float
    keyed: bool = True
    known: str = ""

    def connect(self, left: float, remember: bool) -> socket.socket:
        address = self.known if remember and self.known else _address(self.host)
        self.known = address
        plain = socket.create_connection((address, self.port), left)
        context = ssl.create_default_context(cafile=self.ca)
        try:
            return context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


def _address(host: str) -> str:
    return str(socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])


@dataclass
class Through:
    """By a proxy on the same host."""

    host: str
    address: str
    port: int
    cap: float
    keyed: bool = False

    def connect(self, left: float, remember: bool) -> socket.socket:  # noqa: ARG002 - it has no address of its own
        return socket.create_connection((self.address, self.port), left)


@dataclass
class Application:
    n: Numbers
    route: Route
    order: Callable[[str], None]
    """Tells the provider to do something."""
    began: float = 0.0
    calls: list[Call] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def safe(self, *, remember: bool = False) -> Call:
        return self.call(self.n.safe, remember=remember)

    def unsafe(self) -> Call:
        return self.call(self.n.unsafe)

    def call(self, method: str, *, size: int = 0, key: str = "new", remember: bool = False) -> Call:
        """Ask once, on a connection of its own. `key` is what is sent where the gateway adds none; "" for none."""
        if not self.began:
            self.began = time.monotonic()
        call = self._called(method, size, key, remember)
        self.calls.append(call)
        return call

    def at_once(self, count: int, method: str) -> None:
        """So many calls, none of which waits for another."""
        self.began = time.monotonic()
        threads = [threading.Thread(target=self.call, args=(method,)) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.calls.sort(key=lambda call: call["at"])

    def every(
        self, pause: float, limit: float, until: Callable[[Call], bool], method: str, *, remember: bool = False
    ) -> None:
        """Ask again and again until it is as wanted, for so many seconds."""
        end = time.monotonic() + limit
        while not until(self.call(method, remember=remember)) and time.monotonic() < end:
            time.sleep(pause)

    def steadily(self, limit: float, pause: float) -> None:
        """Safe and unsafe requests in turn, for so many seconds."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            self.call(self.n.safe)
            time.sleep(pause)
            self.call(self.n.unsafe)
            time.sleep(pause)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def provider(self, what: str) -> None:
        """Have the provider do what its fault calls so; it is done when this returns."""
        self.order(what)

    def mark(self, event: Event, words: str) -> None:
        self.marks.append({"at": time.monotonic() - self.began, "event": event, "words": words})

    def _called(self, method: str, size: int, key: str, remember: bool) -> Call:
        at = time.monotonic()
        end = at + self.route.cap
        status, whole, came, retry_after, error = None, False, 0, "", ""
        wire: socket.socket | None = None
        try:
            wire = self.route.connect(self.route.cap, remember)
            self._send(wire, method, size, key)
            answer = http.client.HTTPResponse(wire, method=method)
            wire.settimeout(max(end - time.monotonic(), 0.001))
            answer.begin()
            status, retry_after = answer.status, answer.getheader("retry-after", "")
            length = answer.length
            while part := answer.read1(PIECE):
                came += len(part)
                wire.settimeout(max(end - time.monotonic(), 0.001))
            whole = length is None or came == length
        except TimeoutError:
            error = f"gave up after {seconds(self.route.cap)}"
        except (OSError, http.client.HTTPException) as problem:
            error = _words(problem)
        finally:
            if wire is not None:
                wire.close()
        error = error if status is None else ""
        return {
            "at": at - self.began, "seconds": time.monotonic() - at, "method": method, "status": status, "error": error,
            "whole": whole, "size": came, "retry_after": retry_after,
        }  # fmt: skip

    def _send(self, wire: socket.socket, method: str, size: int, key: str) -> None:
        lines = [f"{method} {PATH} HTTP/1.1", f"host: {self.route.host}", "connection: close"]
        credential = self.n.up.credential
        if credential and self.route.keyed and key:
            lines.append(f"{credential.header}: {credential.prefix}{key}")
        if size or method in ("POST", "PUT", "PATCH"):
            lines += ["content-type: application/json", f"content-length: {size}"]
        wire.sendall("\r\n".join([*lines, "", ""]).encode())
        with contextlib.suppress(OSError):  # the answer may be there before all is sent
            for at in range(0, size, PIECE):
                # A TLS connection is readable for its tickets too.
                if not isinstance(wire, ssl.SSLSocket) and select.select([wire], [], [], 0 if at else 0.1)[0]:
                    return
                wire.sendall(b" " * min(PIECE, size - at))


def _words(problem: BaseException) -> str:
    """An error as people call it."""
    if isinstance(problem, ssl.SSLCertVerificationError):
        return problem.verify_message.partition(",")[0].lower()
    if isinstance(problem, ssl.SSLError):
        return f"TLS: {(problem.reason or str(problem)).lower().replace('_', ' ')}"
    if isinstance(problem, socket.gaierror):
        return "no such name" if problem.errno == socket.EAI_NONAME else "name not resolved"
    if isinstance(problem, OSError) and problem.errno in REFUSED:
        return "refused"
    if isinstance(problem, http.client.RemoteDisconnected | ConnectionError):
        return "closed"
    if isinstance(problem, OSError):
        return str(problem.strerror or problem).lower()
    return "no answer"


@contextlib.contextmanager
def orders(path: str, site: str) -> Iterator[Callable[[str], None]]:
    """The line to a provider of the world, at the socket where it takes orders."""
    with socket.socket(socket.AF_UNIX) as line:
        lock = threading.Lock()
        line.connect(path)
        heard = line.makefile("r", encoding="utf-8")

        def order(what: str) -> None:
            with lock:
                line.sendall(json.dumps({"site": site, "do": what}).encode() + b"\n")
                heard.readline()

        yield order
