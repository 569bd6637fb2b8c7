"""A provider that behaves as a test says, and remembers what reached it: HTTP/1.1 over TLS, of the standard library."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True)
class Request:
    """`at` is in seconds of the machine's own clock."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    lines: tuple[str, ...] = ()
    """Its header fields as they came."""


Behaviour = Callable[[Request, ssl.SSLSocket], None]


class Closed(Exception):
    """The provider has closed the connection on purpose."""


def answers(
    status: int = 200, body: bytes = b'{"id": 1}', kind: str = "application/json", **headers: object
) -> Behaviour:
    """An answer with its length; headers are named with _ for -."""
    given = {"content-type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}

    def behave(request: Request, wire: ssl.SSLSocket) -> None:
        lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in given.items() if value)]
        head = "\r\n".join([*lines, f"content-length: {len(body)}", "", ""])
        wire.sendall(head.encode() + (b"" if request.method == "HEAD" else body))

    return behave


BROKEN = answers(503, b"{}")


def in_turn(first: Iterable[Behaviour], then: Behaviour) -> Behaviour:
    waiting = list(first)

    def behave(request: Request, wire: ssl.SSLSocket) -> None:
        (waiting.pop(0) if waiting else then)(request, wire)

    return behave


def chunks(size: int) -> Behaviour:
    """A JSON string of so many bytes, whose length nobody says before."""

    def behave(_: Request, wire: ssl.SSLSocket) -> None:
        wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
        for at in range(0, size, 65536):
            piece = b"x" * min(65536, size - at)
            piece = (b'"' + piece[1:]) if at == 0 else piece
            piece = (piece[:-1] + b'"') if at + len(piece) == size else piece
            wire.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        wire.sendall(b"0\r\n\r\n")

    return behave


def resets(_: Request, wire: ssl.SSLSocket) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.close()
    raise Closed


def resets_within(request: Request, wire: ssl.SSLSocket) -> None:
    """In the middle of a good answer."""
    wire.sendall(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{"id": ')
    time.sleep(0.05)  # so that it is there before the reset throws it away
    resets(request, wire)


def hangs(_: Request, wire: ssl.SSLSocket) -> None:
    """Until the other side is tired of it."""
    wire.recv(1)
    raise Closed


def trickles(_: Request, wire: ssl.SSLSocket) -> None:
    wire.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    while True:
        wire.sendall(b"x")
        time.sleep(0.02)


@contextmanager
def silence(address: str, port: int) -> Iterator[None]:
    """An address that never answers: Linux drops the SYN for a queue that is full."""
    with ExitStack() as open_, socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(0)
        while True:
            wire = open_.enter_context(socket.socket())
            wire.settimeout(0.2)
            try:
                wire.connect((address, port))
            except TimeoutError:
                break
        yield


@dataclass
class Provider:
    """One address of a provider. It serves within `with`."""

    address: str
    port: int
    certificates: Path
    certificate: str = "good"
    behave: Behaviour = field(default_factory=answers)
    tls: tuple[ssl.TLSVersion, ssl.TLSVersion] = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    clients: str = ""
    """The authority whose certificate a client must show; "": none is asked for."""
    seen: list[Request] = field(default_factory=list)
    refuses: Callable[[Request], bool] = field(default=lambda _: False)
    """Whether a request is answered 401 before its body is read."""
    peers: list[str] = field(default_factory=list)
    """The numbers of the certificates that clients have shown, a connection each."""
    connections: int = 0
    ended: int = 0
    """Connections that the other side has closed in order."""

    def __enter__(self) -> Provider:
        self.listening = socket.create_server((self.address, self.port), backlog=128)
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for each in self.open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.tls[1] < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version, context.maximum_version = self.tls
        chain = self.certificates / self.certificate
        context.load_cert_chain(chain.with_suffix(".pem"), chain.with_suffix(".key"))
        if self.clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.certificates / f"{self.clients}.pem")
        return context

    def _accept(self) -> None:
        context = self._context()
        while True:
            try:
                plain, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            self.open.append(plain)
            threading.Thread(target=self._serve, args=(plain, context), daemon=True).start()

    def _serve(self, plain: socket.socket, context: ssl.SSLContext) -> None:
        try:
            with context.wrap_socket(plain, server_side=True) as wire, wire.makefile("rb") as stream:
                self.open.append(wire)
                if self.clients:
                    self.peers.append((wire.getpeercert() or {})["serialNumber"])
                while request := read_head(stream):
                    if self.refuses(request):
                        self.seen.append(request)
                        answers(401, b"{}")(request, wire)
                        read_body(stream, request)
                        continue
                    request = replace(request, body=read_body(stream, request))
                    self.seen.append(request)
                    self.behave(request, wire)
                self.ended += 1
        except (OSError, ValueError, Closed):
            return


def read_head(stream: BinaryIO) -> Request | None:
    """The next request, without its body; None at the end of the connection."""
    line = stream.readline().decode()
    if not line:
        return None
    method, path, _ = line.split()
    headers, lines = {}, []
    while line := stream.readline().decode().strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
        lines.append(line)
    return Request(time.monotonic(), method, path, headers, b"", tuple(lines))


def read_body(stream: BinaryIO, request: Request) -> bytes:
    body = b""
    if request.headers.get("transfer-encoding") == "chunked":
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
        stream.readline()
    else:
        body = stream.read(int(request.headers.get("content-length", 0)))
    return body
