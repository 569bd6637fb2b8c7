"""What an account that may use a provider asks of its listener, to come to another place by it: the bytes themselves.

RFC 9112 has one way to read each request. Where a gateway and a provider read it in two, the provider sees a request
that the gateway has not seen, and answers it on a connection that other accounts use as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hostguard.attack.case import Case, Holds, case

ELSEWHERE = "a route leads to one provider, by its own name"
NO_TUNNEL = "no route takes CONNECT: 404"
NO_UPGRADE = "no route takes an upgrade: 403, or nothing is handed on of it"
FRAMING = "lengths that can be read in two ways are refused with 400 or 501"
ANEW = "what is handed on is written anew, with one length"
SIZE = "a head past 60 KiB is refused with 431"
LONG = 100 * 1024
MARK = "MARK0123456789"
"""In the place of a label that the sender has for each shot, and as long as one: lengths count it."""


@dataclass(frozen=True)
class Names:
    """`own`: of the provider of the listener. `other`: of one that it must not lead to. `elsewhere`: address:port."""

    own: str
    other: str
    elsewhere: str

    @property
    def hidden(self) -> str:
        return f"GET /{MARK} HTTP/1.1\r\nHost: {self.own}\r\nConnection: close\r\n\r\n"


Request = Callable[[Names], str]


def plain(to: Names) -> str:
    """What it is there for."""
    return to.hidden


def head(line: str, *fields: str) -> str:
    return "\r\n".join([line, *fields, "Connection: close", "", ""])


def tunnel(to: str, hidden: str) -> str:
    return f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n{hidden}"


def posted(to: Names, *fields: str, body: str) -> str:
    return "\r\n".join(["POST / HTTP/1.1", f"Host: {to.own}", *fields, "Connection: close", "", body])


def ended(*fields: str) -> Request:
    """As chunked, it ends at once, and a request behind it; by its length that is all body."""

    def request(to: Names) -> str:
        body = "0\r\n\r\n" + to.hidden
        return posted(to, *(field.replace("LENGTH", str(len(body))) for field in fields), body=body)

    return request


def bare(*fields: str) -> Request:
    """A reader that finds no length here finds a request behind it."""
    return lambda to: posted(to, *(field.replace("LENGTH", str(len(to.hidden))) for field in fields), body=to.hidden)


def within_a_chunk(to: Names) -> str:
    size = f"{len(to.hidden):x}\r\n"
    return posted(to, "Transfer-Encoding: chunked", f"Content-Length: {len(size)}",
                  body=f"{size}{to.hidden}\r\n0\r\n\r\n")  # fmt: skip


def within_an_extension(to: Names) -> str:
    """By CRLF the size's line ends behind the x, by LF before them: then it is they that are the chunk."""
    chunk = "0\r\n\r\n" + to.hidden
    body = f"{len(chunk):x};\n{'x' * len(chunk)}\r\n{chunk}\r\n0\r\n\r\n"
    return posted(to, "Transfer-Encoding: chunked", body=body)


CHUNKED = "Transfer-Encoding: chunked"
LENGTH = "Content-Length: LENGTH"
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")
REQUESTS: Mapping[str, Request] = {
    "plain": plain,
    "connect": lambda to: tunnel(to.elsewhere, to.hidden),
    "connect-provider": lambda to: tunnel(f"{to.other}:443", to.hidden),
    "absolute": lambda to: head(f"GET http://{to.elsewhere}/ HTTP/1.1", f"Host: {to.elsewhere}"),
    "absolute-provider": lambda to: head(f"GET https://{to.other}/ HTTP/1.1", f"Host: {to.own}"),
    "host": lambda to: head("GET / HTTP/1.1", f"Host: {to.other}"),
    "two-hosts": lambda to: head("GET / HTTP/1.1", f"Host: {to.own}", f"Host: {to.other}"),
    "websocket": lambda to: head("GET / HTTP/1.1", f"Host: {to.own}", "Connection: Upgrade", "Upgrade: websocket"),
    "h2c": lambda to: head("GET / HTTP/1.1", f"Host: {to.own}", *UPGRADE, "Upgrade: h2c"),
    "long": lambda to: head("GET / HTTP/1.1", f"Host: {to.own}", f"X-Long: {'x' * LONG}"),
    "cl-te": ended(LENGTH, CHUNKED),
    "te-cl": within_a_chunk,
    "two-lengths": bare(LENGTH, "Content-Length: 0"),
    "length-list": bare("Content-Length: LENGTH, 0"),
    "length-signed": bare("Content-Length: +LENGTH"),
    "length-hex": bare("Content-Length: 0xLENGTH"),
    "te-unknown": ended(LENGTH, "Transfer-Encoding: xchunked"),
    "te-not-last": ended(LENGTH, "Transfer-Encoding: chunked, identity"),
    "te-alone": ended("Transfer-Encoding: chunked, identity"),
    "te-twice": ended(LENGTH, CHUNKED, "Transfer-Encoding: x"),
    "te-tab": ended(LENGTH, "Transfer-Encoding:\x0bchunked"),
    "te-space": ended(LENGTH, "Transfer-Encoding : chunked"),
    "te-folded": ended(LENGTH, "X-Folded: x", " Transfer-Encoding: chunked"),
    "te-lf": ended(LENGTH, "X-Line: x\nTransfer-Encoding: chunked"),
    "te-cr": ended(LENGTH, "X-Line: x\rTransfer-Encoding: chunked"),
    "te-nul": ended(LENGTH, "Transfer-Encoding\0: chunked"),
    "chunk-lf": within_an_extension,
}
"""By its name. All that is HTTP in them is here."""


def of(id: str, tries: str, held_by: str = ELSEWHERE, *, refused: bool = False) -> Case:
    """`refused`: by the gateway itself, before anything of it could go to the provider: so a host in service may be
    asked it."""
    return case(f"gateway.{id}", "user", tries, "http", held_by, layer="requests", families=(4,), to=("listener",),
                holds=Holds.GATEWAY, harmless=refused, request=id)  # fmt: skip


def framed(id: str, tries: str) -> Case:
    return of(id, f"a request hidden from the gateway: {tries}", FRAMING, refused=True)


CASES: tuple[Case, ...] = (
    of("connect", "a tunnel to another address (CONNECT)", NO_TUNNEL, refused=True),
    of("connect-provider", "a tunnel to another provider (CONNECT)", NO_TUNNEL, refused=True),
    of("absolute", "a whole URL of another address"),
    of("absolute-provider", "a whole URL of another provider"),
    of("host", "a Host that is another provider's"),
    of("two-hosts", "two Hosts"),
    of("websocket", "an upgrade to WebSocket", NO_UPGRADE, refused=True),
    of("h2c", "an upgrade to HTTP/2 (h2c)", NO_UPGRADE),
    of("long", "a head of 100 KiB", SIZE, refused=True),
    framed("cl-te", "Content-Length, and chunked"),
    framed("te-cl", "chunked, and a Content-Length"),
    framed("two-lengths", "two Content-Lengths"),
    framed("length-list", "a Content-Length of two numbers"),
    framed("length-signed", "a Content-Length with a sign"),
    framed("length-hex", "a Content-Length in hex"),
    framed("te-unknown", "a Transfer-Encoding that is not known"),
    framed("te-not-last", "chunked that is not the last Transfer-Encoding"),
    framed("te-alone", "the same without a length"),
    framed("te-twice", "two Transfer-Encodings"),
    framed("te-tab", "a control character before chunked"),
    framed("te-space", "a space before the colon of Transfer-Encoding"),
    of("te-folded", "a request hidden from the gateway: chunked on a line that goes on from another (obs-fold)", ANEW),
    framed("te-lf", "chunked behind a line feed alone"),
    of("te-cr", "a request hidden from the gateway: chunked behind a carriage return alone", ANEW),
    framed("te-nul", "a NUL in the name of Transfer-Encoding"),
    # Its head is well-formed: the gateway calls the provider before it sees the chunk.
    of("chunk-lf", "a request hidden from the gateway: a line feed in a chunk's extension", FRAMING),
)
