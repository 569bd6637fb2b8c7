"""A provider in the world, with a fault: its regions, each at an address of its own, and what reached them.

TLS of the standard library, HTTP/1.1. What comes is written down before anything is done with it.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

from hostguard.rehearse import dns
from hostguard.rehearse.faults import sample
from hostguard.rehearse.faults.fault import Fault, Numbers
from hostguard.rehearse.faults.result import Reached

LONGEST = 90.0
"""Seconds after which a connection is given up."""
PIECE = 65536
QUEUE = 1024
MOVED = 250
"""The last number of the address that a name moves to."""
REASONS = {200: "OK", 204: "No Content", 401: "Unauthorized", 429: "Too Many Requests", 503: "Service Unavailable"}


class Ended(Exception):
    """The provider has ended the connection on purpose."""


@dataclass(frozen=True)
class Plan:
    """What stands where: `hosts` by region, and `network`, the first three numbers of its addresses."""

    key: str
    fault: Fault
    numbers: Numbers
    hosts: tuple[str, ...]
    network: str


class Site:
    def __init__(self, plan: Plan, certificates: Path) -> None:
        self.plan, self.certificates = plan, certificates
        self.state = ""
        """The fault's own to set."""
        self.seen: list[Reached] = []
        self.lock = threading.Lock()
        self.context = self._context()
        self.regions = [Region(self, at + 1, f"{plan.network}.{at + 1}") for at in range(len(plan.hosts))]
        self.names: dict[str, Named] = {
            host: Named([region.address]) for host, region in zip(plan.hosts, self.regions, strict=True)
        }
        for region in self.regions:
            region.open()
        plan.fault.begins(self)

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if self.plan.fault.old_tls:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        at = self.certificates / self.plan.fault.leaf
        context.load_cert_chain(at.with_suffix(".pem"), at.with_suffix(".key"))
        return context

    def region(self, number: int) -> Region:
        return self.regions[number - 1]

    def lead(self, region: int, state: Literal["here", "gone", "failing"]) -> None:
        """What a resolver says of the region's name from now on."""
        self.names[self.plan.hosts[region - 1]].state = state

    def move(self, region: int) -> None:
        """The region is at another address from now on, and nobody at the old one."""
        moved = self.region(region)
        moved.close()
        moved.address = f"{self.plan.network}.{MOVED}"
        moved.open()
        self.names[self.plan.hosts[region - 1]].addresses = [moved.address]

    def do(self, what: str) -> None:
        """An order of the application's script: a method of the fault."""
        getattr(self.plan.fault, what)(self)

    def note(self, found: Reached) -> Reached:
        with self.lock:
            self.seen.append(found)
        return found

    def resolved(self, question: bytes, name: str) -> bytes:
        found = self.names[name]
        code = {"here": dns.NO_ERROR, "gone": dns.NXDOMAIN, "failing": dns.SERVFAIL}[found.state]
        return dns.answer(question, found.addresses, self.plan.fault.ttl, code)


@dataclass
class Named:
    addresses: list[str]
    state: Literal["here", "gone", "failing"] = "here"


class Region:
    def __init__(self, site: Site, number: int, address: str) -> None:
        self.site, self.number, self.address = site, number, address
        self.listener: socket.socket | None = None
        self.wires: set[socket.socket] = set()
        self.waiting: list[socket.socket] = []

    def open(self) -> None:
        self.listener = self._listening(QUEUE)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def _listening(self, queue: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.address, self.site.plan.numbers.up.port))
        listener.listen(queue)
        return listener

    def close(self) -> None:
        """Nobody listens any more, and who was connected is reset."""
        if self.listener:
            # close(2) alone leaves a thread waiting in accept, and the port taken.
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for wire in list(self.wires):
            reset(wire)

    def fall_silent(self) -> None:
        """Linux drops the first packet to a queue that is full: as if it were lost on the way."""
        self.close()
        self.listener = self._listening(0)
        while True:
            wire = socket.socket()
            self.waiting.append(wire)
            wire.settimeout(0.2)
            try:
                wire.connect(self.listener.getsockname())
            except TimeoutError:
                return

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        at = time.monotonic()
        plain.settimeout(LONGEST)
        tls, asked = "", 0
        self.wires.add(plain)
        with contextlib.suppress(OSError, ValueError, Ended):
            try:
                with self.site.context.wrap_socket(plain, server_side=True) as wire, wire.makefile("rb") as stream:
                    tls = wire.version() or ""
                    self.wires.add(wire)
                    while self._asked(wire, stream, tls):
                        asked += 1
            finally:
                self.wires.discard(plain)
                if not asked and not tls:
                    self.site.note(self._reached(at, "", "", ""))

    def _reached(self, at: float, method: str, key: Any, tls: str) -> Reached:
        return {"at": at, "region": self.number, "address": self.address, "method": method, "key": key, "tls": tls,
                "status": None, "size": 0}  # fmt: skip

    def _asked(self, wire: ssl.SSLSocket, stream: BinaryIO, tls: str) -> bool:
        head = read_head(stream)
        if head is None:
            return False
        method, headers = head
        credential = self.site.plan.numbers.up.credential
        sent = headers.get(credential.header.lower(), "") if credential else ""
        key = sent.removeprefix(credential.prefix).strip() if credential and sent else ""
        known: Any = key if key in ("new", "old", "") else "other"
        found = self.site.note(self._reached(time.monotonic(), method, known, tls))
        count = sum(1 for each in list(self.site.seen) if each["method"])
        found["size"] = read_body(stream, headers)
        self.site.plan.fault.answers(Asked(self.site, self, wire, found, count))
        return headers.get("connection", "").lower() != "close"


def read_head(stream: BinaryIO) -> tuple[str, dict[str, str]] | None:
    """The method and the header fields, by their names in lower case; None at the end of the connection."""
    line = stream.readline().decode("latin-1")
    if not line:
        return None
    method, _, _ = line.split()
    headers = {}
    while line := stream.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return method, headers


def read_body(stream: BinaryIO, headers: Mapping[str, str]) -> int:
    """Take the body off the connection; its length in bytes."""
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return _taken(stream, int(headers.get("content-length", 0)))
    length = 0
    while size := int(stream.readline().split(b";")[0], 16):
        length += _taken(stream, size)
        stream.readline()
    stream.readline()
    return length


def _taken(stream: BinaryIO, length: int) -> int:
    left = length
    while left and (part := stream.read(min(left, PIECE))):
        left -= len(part)
    if left:
        raise EOFError
    return length


def reset(wire: socket.socket) -> None:
    with contextlib.suppress(OSError):
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.suppress(OSError):
        # A close alone waits for the thread that reads.
        wire.shutdown(socket.SHUT_RD)
    wire.close()


@dataclass
class Asked:
    """A request that reached a region, and what may be done with it. `count`: the how manieth of its provider."""

    site: Site
    region: Region
    wire: ssl.SSLSocket
    found: Reached
    count: int
    n: Numbers = field(init=False)

    def __post_init__(self) -> None:
        self.n = self.site.plan.numbers

    @property
    def key(self) -> str:
        return self.found["key"]

    def well(self) -> None:
        """A good answer, that fits the policy's schema."""
        schema = self.n.up.payload.schema
        body: bytes | None = b'{"id": "1", "status": "paid"}' if schema is None else sample.fitting(schema)
        if body is None:
            self.reply(204)
        else:
            self.reply(200, body=body)

    def reply(self, status: int, headers: Mapping[str, str] = {}, body: bytes = b"{}") -> None:
        self.found["status"] = status
        has = status != 204
        given = {**self._content(has), **headers}
        lines = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in given.items())]
        lines += [f"content-length: {len(body)}"] * has
        self.wire.sendall("\r\n".join([*lines, "", ""]).encode() + (body if has else b""))

    def _content(self, has: bool) -> dict[str, str]:
        return {"content-type": self.n.up.payload.types[0]} if has else {}

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def hang(self) -> None:
        """Until the other side is tired of it."""
        self.wire.recv(1)
        raise Ended

    def _begin(self, more: str) -> None:
        self.found["status"] = 200
        self.wire.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {self.n.up.payload.types[0]}\r\n{more}\r\n\r\n".encode())

    def drip(self, pause: float) -> None:
        self._begin("content-length: 100000")
        while True:
            self.wire.sendall(b" ")
            time.sleep(pause)

    def chunks(self, size: int) -> None:
        """A JSON string of so many bytes, whose length nobody says before."""
        self._begin("transfer-encoding: chunked")
        left = size - 2
        self.wire.sendall(b'1\r\n"\r\n')
        while left:
            piece = b"x" * min(left, PIECE)
            left -= len(piece)
            self.wire.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wire.sendall(b'1\r\n"\r\n0\r\n\r\n')

    def reset(self) -> None:
        reset(self.wire)
        raise Ended

    def cut(self) -> None:
        """Reset in the middle of a good answer."""
        self._begin("content-length: 1000")
        self.wire.sendall(b'{"id": ')
        time.sleep(0.05)  # so that it is there before the reset throws it away
        self.reset()
