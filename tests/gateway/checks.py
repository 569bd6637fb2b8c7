"""Schemas in the running proxy: what it says of a text, each time by an answer of a provider."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.gateway.names import Names
from tests.gateway.provider import Provider, Request, answers
from tests.gateway.proxy import ADDRESS, API, FIRST, MIB, PORT, PROVIDERS_PORT, RESOLVER, gateway, running, upstream

Check = Callable[[int, bytes], bool]


def echoes(request: Request, wire: ssl.SSLSocket) -> None:
    """An answer with the body of the request."""
    answers(body=request.body)(request, wire)


@contextmanager
def checking(schemas: Sequence[Any], pki: Path, under: Sequence[str] = ()) -> Iterator[Check]:
    """A function that says whether a text passes the schema of that number."""
    payload = {"validate_max": MIB, "response_max": MIB + 1, "request_max": MIB + 1}
    ups = [
        upstream(name=f"p{at}", listen=PORT + at, payload={**payload, "schema": schema})
        for at, schema in enumerate(schemas)
    ]
    with Names(RESOLVER, {API: ([FIRST], 600)}), Provider(FIRST, PROVIDERS_PORT, pki, behave=echoes) as provider:
        wires: dict[int, http.client.HTTPConnection] = {}

        def check(at: int, text: bytes) -> bool:
            if at not in wires:
                wires[at] = http.client.HTTPConnection(ADDRESS, PORT + at, timeout=60)
            provider.seen.clear()
            wires[at].request("POST", "/", text)
            answer = wires[at].getresponse()
            got = answer.read()
            passed = answer.status == 200 and got == text
            assert passed or (answer.status, answer.getheader("x-hostguard-reason")) == (502, "payload")
            return passed

        with running(gateway(*ups, ca=pki / "ca.pem", log="off"), under=under):
            yield check
        for wire in wires.values():
            wire.close()
