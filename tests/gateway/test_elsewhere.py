"""A listener leads to its own provider, whatever an application writes into its request: judged by what the providers
and a bystander saw."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.gateway.provider import Provider
from tests.gateway.proxy import (
    ADDRESS,
    API,
    EU,
    HERE,
    PORT,
    PROVIDERS_PORT,
    SECOND,
    gateway,
    running,
    upstream,
)
from tests.patience import slowness

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]
OTHER = PORT + 1
BYSTANDER = f"{HERE}.66"
ELSEWHERE = f"{BYSTANDER}:8080"
HIDDEN = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"


@contextmanager
def bystander() -> Iterator[list[bytes]]:
    """Somebody who is no provider, and remembers who called."""
    called: list[bytes] = []
    with socket.create_server((BYSTANDER, 8080)) as listening:
        listening.setblocking(False)
        yield called
        with suppress(BlockingIOError):
            while True:
                wire, _ = listening.accept()
                called.append(wire.getsockname()[0].encode())
                wire.close()


def send(text: str) -> bytes:
    """Everything that comes back until the gateway closes, or says nothing more for a second of an idle machine."""
    said = b""
    with socket.create_connection((ADDRESS, PORT), timeout=5) as wire:
        wire.sendall(text.encode("latin-1"))
        wire.settimeout(slowness())
        with suppress(OSError):
            while part := wire.recv(65536):
                said += part
    return said


@pytest.fixture
def both(pki: Path, first: Provider) -> Iterator[tuple[Provider, Provider]]:
    """Two providers behind one gateway: the application speaks to the listener of the first."""
    other = upstream(name="letters", hosts=(EU,), listen=OTHER)
    with Provider(SECOND, PROVIDERS_PORT, pki) as second, running(gateway(upstream(), other, ca=pki / "ca.pem")):
        yield first, second


@pytest.mark.parametrize(
    "text",
    [
        f"CONNECT {ELSEWHERE} HTTP/1.1\r\nHost: {ELSEWHERE}\r\n\r\n",
        f"CONNECT {EU}:{PROVIDERS_PORT} HTTP/1.1\r\nHost: {EU}:{PROVIDERS_PORT}\r\n\r\n",
        f"GET http://{ELSEWHERE}/ HTTP/1.1\r\nHost: {ELSEWHERE}\r\n\r\n",
        f"GET https://{EU}:{PROVIDERS_PORT}/ HTTP/1.1\r\nHost: {EU}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {EU}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {API}\r\nHost: {EU}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: {EU}\r\nX-Envoy-Original-Dst-Host: {ELSEWHERE}\r\n\r\n",
        f"GET //{ELSEWHERE}/ HTTP/1.1\r\nHost: {API}\r\n\r\n",
        f"OPTIONS * HTTP/1.1\r\nHost: {EU}\r\n\r\n",
        f"GET / HTTP/1.0\r\nHost: {EU}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
    ids=["connect", "connect to a provider", "absolute", "absolute to a provider", "host", "two hosts", "headers",
         "two slashes", "options", "old", "upgrade"],
)  # fmt: skip
def test_a_request_for_elsewhere_reaches_nobody_else(both: tuple[Provider, Provider], text: str) -> None:
    first, second = both
    with bystander() as called:
        said = send(text)
    assert said.startswith(b"HTTP/1.")
    assert (called, second.connections) == ([], 0)
    assert len(first.seen) <= 1
    assert all(seen.headers["host"] == API for seen in first.seen)


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding : chunked",
        "Content-Length: 0\r\nContent-Length: 44",
        "Content-Length: +0",
        "Content-Length: 0x0",
        "Content-Length: 0\r\n Transfer-Encoding: chunked",
    ],
)
def test_a_second_request_within_a_body_is_never_one_of_its_own(both: tuple[Provider, Provider], head: str) -> None:
    """RFC 9112, 6.1: where two lengths contradict each other, what comes after may be taken for a request."""
    first, second = both
    said = send(f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{HIDDEN}")
    assert said.startswith((b"HTTP/1.1 4", b"HTTP/1.1 501"))
    assert said.count(b"HTTP/1.1 ") == 1
    assert [seen.path for seen in first.seen] == []
    assert second.connections == 0


@pytest.mark.parametrize("head", ["Transfer-Encoding: chunked", "X: \nTransfer-Encoding: chunked"], ids=["usual", "LF"])
def test_two_requests_are_two_for_the_provider_too(both: tuple[Provider, Provider], head: str) -> None:
    """Well-formed, the same bytes are two requests; so too where a line ends with LF alone, which RFC 9112, 2.2,
    allows. The gateway writes each anew: the provider can't take them for anything else."""
    first, _ = both
    said = send(f"POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n0\r\n\r\n{HIDDEN}")
    assert said.count(b"HTTP/1.1 200") == 2
    assert [(seen.method, seen.path, seen.headers["host"]) for seen in first.seen] == [
        ("POST", "/", API),
        ("GET", "/hidden", API),
    ]
