"""A provider in the world outside: TLS of the standard library. It answers whoever asks, and tells what reached it."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from hostguard.host.attack.doors import ANSWERED

SECONDS = 60.0
"""Without a word after which a connection is given up."""
HEAD = re.compile(rb"\r?\n\r?\n")
LINE = re.compile(r"\r\n|\n|\r")


@dataclass(frozen=True)
class Request:
    """As a server reads it. `size` is its head's, in bytes."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes
    size: int

    def all(self, name: str) -> list[str]:
        return [value for found, value in self.fields if found == name]


class Dialect(NamedTuple):
    """How a server reads what has more than one reading: whether chunks go before a length, which of several lengths
    holds, and what ends the line of a chunk's size."""

    chunks_first: bool
    length: int
    line: bytes


LENIENT = Dialect(True, 0, b"\n")
DIALECTS = tuple(Dialect(first, at, line) for first in (True, False) for at in (0, -1) for line in (b"\n", b"\r\n"))


def next_request(raw: bytes, dialect: Dialect = LENIENT) -> tuple[Request, bytes | None] | None:
    """The first request and what is behind it, which is None where its body has not ended; None where there is no whole
    head. Raises ValueError for what this reads as nothing."""
    end = HEAD.search(raw)
    if end is None:
        return None
    first, *lines = LINE.split(raw[: end.start()].decode("latin-1"))
    method, target, *_ = [*first.split(), "", ""][:3]
    if not target:
        raise ValueError(f"no request: {first[:80]!r}")
    parts = (line.partition(":") for line in lines)
    # A control character, a NUL or a space is no part of a name for those who overlook them.
    bare = tuple((_trimmed(name).lower(), _trimmed(value)) for name, _, value in parts)
    body, rest = _body(bare, raw[end.end() :], dialect)
    return Request(method, target, bare, body, end.end()), rest


def _trimmed(text: str) -> str:
    return text.strip("".join(map(chr, range(0x21))))


def _body(fields: tuple[tuple[str, str], ...], raw: bytes, dialect: Dialect) -> tuple[bytes, bytes | None]:
    lengths = [int(value) for name, value in fields if name == "content-length" and value.isdecimal()]
    chunked = any(name == "transfer-encoding" and "chunked" in value.lower() for name, value in fields)
    if chunked and (dialect.chunks_first or not lengths):
        return _chunks(raw, dialect.line)
    length = lengths[dialect.length] if lengths else 0
    return raw[:length], raw[length:] if len(raw) >= length else None


def _chunks(raw: bytes, line: bytes) -> tuple[bytes, bytes | None]:
    body = b""
    while line in raw:
        size, _, raw = raw.partition(line)
        length = int(size.partition(b";")[0].strip(), 16)
        if length == 0:
            return body, _behind_trailers(raw, line)
        body, raw = body + raw[:length], raw[length:].removeprefix(b"\r\n")
    return body, None


def _behind_trailers(raw: bytes, line: bytes) -> bytes | None:
    while line in raw:
        trailer, _, raw = raw.partition(line)
        if not trailer.strip():
            return raw
    return None


def readings(raw: bytes) -> list[list[Request]]:
    """The requests in these bytes, by each dialect."""
    return [_requests(raw, dialect) for dialect in DIALECTS]


def _requests(raw: bytes, dialect: Dialect) -> list[Request]:
    found: list[Request] = []
    rest: bytes | None = raw
    with contextlib.suppress(ValueError):
        while rest and (one := next_request(rest, dialect)):
            found.append(one[0])
            rest = one[1]
    return found


@dataclass
class Called:
    """A connection: the address that was called, the name that was asked for (SNI), and what came since it was last
    looked at."""

    to: str
    name: str = ""
    raw: bytes = b""
    fresh: bool = True

    def plain(self) -> dict[str, str]:
        return {"to": self.to, "name": self.name, "raw": self.raw.decode("latin-1")}


Behaviour = Callable[[Called, Request, ssl.SSLSocket], None]


def answers(_called: Called, request: Request, wire: ssl.SSLSocket) -> None:
    """No 2xx, whose body a policy may have a schema for, and nothing that is asked again."""
    last = "close" in ",".join(request.all("connection")).lower()
    head = f"HTTP/1.1 404 Not Found\r\ncontent-length: {len(ANSWERED)}\r\n" + "connection: close\r\n" * last + "\r\n"
    wire.sendall(head.encode() + ANSWERED)
    if last:
        raise EOFError


@dataclass
class Provider:
    """Serves what it is given in threads of its own. `folder` has the certificate's files."""

    folder: Path
    leaf: str = "provider"
    behave: Behaviour = answers
    calls: list[Called] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._names = threading.local()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.folder / f"{self.leaf}.pem", self.folder / f"{self.leaf}.key")

        def named(_: ssl.SSLObject, name: str | None, __: ssl.SSLContext) -> None:
            self._names.asked = name or ""

        self._context.sni_callback = named

    def serve(self, plain: socket.socket) -> None:
        called = Called(plain.getsockname()[0])
        self.calls.append(called)
        plain.settimeout(SECONDS)
        threading.Thread(target=self._serve, args=(plain, called), daemon=True).start()

    def _serve(self, plain: socket.socket, called: Called) -> None:
        # A caller that hangs up, or says what nobody can read, is not waited for.
        with contextlib.suppress(OSError, ValueError, EOFError), plain:
            self._names.asked = ""
            try:
                wire = self._context.wrap_socket(plain, server_side=True)
            finally:
                called.name = self._names.asked
            with wire:
                raw = b""
                while part := wire.recv(65536):
                    called.raw, called.fresh = called.raw + part, True
                    raw += part
                    while (one := next_request(raw)) and one[1] is not None:
                        raw = one[1]
                        self.behave(called, one[0], wire)

    def reached(self) -> list[dict[str, str]]:
        """What has come since this was last asked."""
        found = [called for called in self.calls if called.fresh]
        told = [called.plain() for called in found]
        for called in found:
            called.raw, called.fresh = b"", False
        return told


LONGEST_HEAD = 60 * 1024


def strays(calls: list[Mapping[str, Any]], own: str, hidden: str) -> list[str]:
    """What reached the world that a listener of the provider `own` must not let through, in words. `hidden` is the
    target of a request that nobody sent as one."""
    found: dict[str, None] = {}
    for called in calls:
        if called["name"] != own:
            found[f"a connection to {called['to']} for {called['name'] or 'nobody'}"] = None
        for requests in readings(called["raw"].encode("latin-1")):
            for request in requests:
                found |= dict.fromkeys(_strayed(request, own, hidden))
    return list(found)


def _strayed(request: Request, own: str, hidden: str) -> list[str]:
    found = []
    if request.method == "CONNECT" or not request.target.startswith("/"):
        found.append(f"{request.method} {request.target[:80]}")
    if request.all("host") != [own]:
        found.append(f"a request for the host {' and '.join(request.all('host')) or 'of nobody'}")
    if request.all("upgrade"):
        found.append(f"an upgrade to {request.all('upgrade')[0]}")
    if request.size > LONGEST_HEAD:
        found.append(f"a head of {request.size} bytes")
    if request.target == hidden:
        found.append("a request hidden in another")
    return found
