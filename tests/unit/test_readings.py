"""A provider of the rehearsal reads what reaches it in every way in which servers read (RFC 9112)."""

from __future__ import annotations

import pytest

from hostguard.attack.cases import requests
from hostguard.rehearse.provider import LONGEST_HEAD, next_request, readings, strays

OWN, OTHER = "api.provider.com", "api.letters.example"
HIDDEN = f"/{requests.MARK}"
NAMES = requests.Names(OWN, OTHER, "198.51.100.66:443")


def called(raw: str, name: str = OWN) -> dict[str, str]:
    return {"to": "192.88.99.1", "name": name, "raw": raw}


def request(*fields: str, line: str = "GET /x HTTP/1.1", body: str = "") -> str:
    return "\r\n".join([line, f"Host: {OWN}", *fields, "", body])


@pytest.mark.parametrize("name", sorted(requests.REQUESTS.keys() - {"plain"}))
def test_each_attempt_strays_where_nothing_reads_it_before(name: str) -> None:
    assert strays([called(requests.REQUESTS[name](NAMES))], OWN, HIDDEN)


@pytest.mark.parametrize(
    "raw",
    [
        request(),
        request() + request("Content-Length: 3", body="abc") + request(),
        request("Transfer-Encoding: chunked", body="3\r\nabc\r\n0\r\n\r\n") + request(),
        request("Transfer-Encoding: chunked", body="3;x=y\r\nabc\r\n0\r\nX: trailer\r\n\r\n") + request(),
        # What a request carries is its own matter, as long as everybody agrees where it ends.
        request("Content-Length: 60", body=requests.plain(NAMES)[:60]),
        request("X-Folded: x Transfer-Encoding: chunked", "Content-Length: 5", body="0\r\n\r\n"),
    ],
)
def test_what_has_one_reading_does_not_stray(raw: str) -> None:
    assert strays([called(raw)], OWN, HIDDEN) == []
    assert len({len(found) for found in readings(raw.encode())}) == 1


def test_a_connection_for_another_strays_though_nothing_was_asked() -> None:
    assert strays([called("", OTHER)], OWN, HIDDEN) == [f"a connection to 192.88.99.1 for {OTHER}"]
    assert strays([called("", "")], OWN, HIDDEN) == ["a connection to 192.88.99.1 for nobody"]


def test_a_head_is_long_past_60_kib() -> None:
    fits = request("X: " + "x" * (LONGEST_HEAD - len(request("X: "))))
    assert strays([called(fits)], OWN, HIDDEN) == []
    assert strays([called(fits.replace("X: ", "X: x"))], OWN, HIDDEN)


def test_a_request_has_ended_when_its_body_is_whole() -> None:
    whole = request("Content-Length: 3", body="abc").encode()
    for end in range(len(whole)):
        one = next_request(whole[:end])
        assert one is None or one[1] is None
    one = next_request(whole + b"next")
    assert one is not None
    assert (one[0].body, one[1]) == (b"abc", b"next")
