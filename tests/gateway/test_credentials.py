"""Keys, certificates and tokens that the gateway adds: what reaches a provider while they come, change and go, and what
an application sees of it."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from hostguard.host.envoy_admin import DUMP
from hostguard.policy.gateway import Credential, OAuth, Upstream
from hostguard.policy.keys import Place
from tests.gateway import certificates
from tests.gateway.provider import BROKEN, Behaviour, Provider, Request, answers, hangs, in_turn, resets
from tests.gateway.proxy import (
    ADDRESS,
    EU,
    FIRST,
    MIB,
    PORT,
    PROVIDERS_PORT,
    REGIONS,
    SECOND,
    ask,
    gateway,
    put,
    running,
    upstream,
)
from tests.patience import until
from tests.witness import planted

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]
K1, K2, K3 = "key-one-4f1d", "key-two-9a7c", "key-three-55e0"
HEADER, PREFIX = "x-api-key", "Key "
REASON = "x-hostguard-reason"
REFUSED = answers(401, b'{"error": "key"}')


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The folder of a secret, with one key as new and as old."""
    folder = tmp_path / "keys"
    folder.mkdir()
    for name in ("new", "old"):
        put(folder / name, K1)
    return folder


def keyed(keys: Path, *, old: bool = True, oauth: OAuth | None = None, **changes: Any) -> Upstream:
    place = Place("payments", new=f"{keys}/new", old=f"{keys}/old" if old else None)
    header, prefix = ("Authorization", "") if oauth else ("X-Api-Key", PREFIX)
    return upstream(credential=Credential(place, header, prefix, oauth), **changes)


def sent(provider: Provider) -> list[str]:
    """The keys that reached it."""
    return [request.headers.get(HEADER, "none").removeprefix(PREFIX) for request in provider.seen]


@dataclass
class Door:
    """A provider's: it lets in whoever has a key that it accepts at that time."""

    accepted: set[str] = field(default_factory=set)
    header: str = HEADER

    def __call__(self, request: Request, wire: ssl.SSLSocket) -> None:
        key = request.headers.get(self.header, "none").rpartition(" ")[2]
        (answers() if key in self.accepted else REFUSED)(request, wire)


# A key


@pytest.mark.parametrize("protocol", ["http1", "auto"])
def test_the_key_is_added_and_whatever_an_application_sends_in_its_place_is_not(
    pki: Path, first: Provider, keys: Path, protocol: str
) -> None:
    with running(gateway(keyed(keys, protocol=protocol), ca=pki / "ca.pem")):
        assert ask().status == 200
        wire = http.client.HTTPConnection(ADDRESS, PORT)
        wire.putrequest("GET", "/")
        for name in ("X-Api-Key", "x-api-key", "X-API-KEY"):
            wire.putheader(name, "mine")
        wire.endheaders()
        assert wire.getresponse().status == 200
    assert [request.headers[HEADER] for request in first.seen] == [PREFIX + K1] * 2
    assert [line for request in first.seen for line in request.lines if "mine" in line] == []


@pytest.mark.usefixtures("first")
def test_an_answer_of_the_provider_s_tells_of_no_key(pki: Path, keys: Path) -> None:
    with running(gateway(keyed(keys), ca=pki / "ca.pem")):
        got = ask()
    assert not [name for name in got.headers if name.startswith(("x-hostguard", "x-envoy", HEADER))]


def chunked(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), 65536):
        yield body[at : at + 65536]


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_the_old_key_is_tried_where_the_new_one_is_refused(pki: Path, first: Provider, keys: Path, method: str) -> None:
    put(keys / "new", K2)
    first.behave = Door({K1})
    with running(gateway(keyed(keys), ca=pki / "ca.pem")) as proxy:
        assert ask(method=method, body=b"pay").status == 200
        until(lambda: bool(proxy.logged()), "a line of the log")
        assert (proxy.logged()[0]["tries"], proxy.logged()[0]["cluster"]) == (2, "payments-old")
    assert sent(first) == [K2, K1]
    assert [request.body for request in first.seen] == [b"pay", b"pay"]


@pytest.mark.parametrize("early", [False, True], ids=["after the body", "before the body"])
@pytest.mark.parametrize("length", [True, False], ids=["length", "chunked"])
def test_a_body_up_to_the_limit_goes_again_whole(
    pki: Path, first: Provider, keys: Path, length: bool, early: bool
) -> None:
    put(keys / "new", K2)
    first.behave = Door({K1})
    if early:
        first.refuses = lambda request: request.headers[HEADER] == PREFIX + K2
    body = bytes(range(256)) * (9 * MIB // 256)
    with running(gateway(keyed(keys), ca=pki / "ca.pem")):
        wire = http.client.HTTPConnection(ADDRESS, PORT, timeout=60)
        if length:
            wire.request("POST", "/", body)
        else:
            wire.request("POST", "/", chunked(body), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        assert wire.getresponse().status == 200
    assert sent(first) == [K2, K1]
    assert first.seen[-1].body == body


def test_both_keys_refused_is_the_provider_s_own_401(pki: Path, first: Provider, keys: Path) -> None:
    first.behave = Door()
    with running(gateway(keyed(keys), ca=pki / "ca.pem")):
        got = ask(method="POST")
    assert (got.status, got.body) == (401, b'{"error": "key"}')
    assert REASON not in got.headers
    assert len(first.seen) == 4


def test_without_an_old_key_a_401_is_handed_on(pki: Path, first: Provider, keys: Path) -> None:
    first.behave = Door()
    with running(gateway(keyed(keys, old=False), ca=pki / "ca.pem")):
        assert ask(method="POST").status == 401
    assert len(first.seen) == 1


def test_an_old_key_that_is_no_good_any_more_does_no_harm(pki: Path, first: Provider, keys: Path) -> None:
    """The second try has the old key, whatever the first one failed for."""
    put(keys / "new", K2)
    door = Door({K2})
    first.behave = in_turn([BROKEN], door)
    with running(gateway(keyed(keys), ca=pki / "ca.pem")):
        assert ask().status == 200
    assert sent(first) == [K2, K1, K2]


@pytest.mark.parametrize("behave", [BROKEN, resets, hangs], ids=["503", "reset", "hangs"])
def test_what_is_not_safe_reaches_a_provider_once_but_for_a_key_that_is_refused(
    pki: Path, first: Provider, second: Provider, keys: Path, behave: Behaviour
) -> None:
    put(keys / "new", K2)
    up = keyed(keys, hosts=REGIONS, per_try=0.5, total=3)
    with running(gateway(up, ca=pki / "ca.pem")):
        first.behave = behave
        assert ask(method="POST").status in (502, 503, 504)
        assert (len(first.seen), len(second.seen)) == (1, 0)
        first.behave = in_turn([REFUSED], behave)
        assert ask(method="POST").status in (502, 503, 504)
    assert sent(first) == [K2, K2, K1]
    assert second.seen == []


# Another region


def test_each_region_is_asked_with_both_keys_before_the_next(
    pki: Path, first: Provider, second: Provider, keys: Path
) -> None:
    put(keys / "new", K2)
    first.behave, second.behave = Door(), Door({K1})
    with running(gateway(keyed(keys, hosts=REGIONS), ca=pki / "ca.pem")):
        assert ask(method="POST").status == 200
    assert (sent(first), sent(second)) == ([K2, K1], [K2, K1])
    assert [request.at for request in first.seen + second.seen] == sorted(
        request.at for request in first.seen + second.seen
    )


def test_a_region_that_takes_the_old_key_is_left_by_nobody(
    pki: Path, first: Provider, second: Provider, keys: Path
) -> None:
    put(keys / "new", K2)
    first.behave, second.behave = Door({K1}), Door({K1, K2})
    with running(gateway(keyed(keys, hosts=REGIONS), ca=pki / "ca.pem")):
        assert [ask(method=method).status for method in ("GET", "POST")] == [200, 200]
    assert sent(first) == [K2, K1] * 2
    assert second.seen == []


def test_a_region_that_refuses_connections_is_left_for_the_next(pki: Path, second: Provider, keys: Path) -> None:
    with running(gateway(keyed(keys, hosts=REGIONS), ca=pki / "ca.pem")):
        assert [ask(method="POST").status for _ in range(10)] == [200] * 10
    assert sent(second) == [K1] * 10


# No key


@pytest.mark.parametrize("content", [None, "", "\n"], ids=["missing", "empty", "a line's end"])
@pytest.mark.parametrize("old", [False, True], ids=["alone", "with an old one"])
def test_without_a_key_nothing_is_sent_and_the_gateway_says_why(
    pki: Path, first: Provider, keys: Path, content: str | None, old: bool
) -> None:
    for path in (keys / "new", keys / "old"):
        path.unlink()
        if content is not None:
            put(path, content)
    with running(gateway(keyed(keys, old=old), ca=pki / "ca.pem")) as proxy:
        got = ask(headers={"X-Api-Key": "mine"})
        assert (got.status, got.headers[REASON]) == (503, "failed_to_inject_credential")
        until(lambda: bool(proxy.logged()), "a line of the log")
        (line,) = proxy.logged()
        assert (line["status"], line["detail"], line["tries"]) == (503, "failed_to_inject_credential", 1)
        assert first.seen == []
        put(keys / "new", K1)
        until(lambda: ask().status == 200, "an answer once the key is there")
    assert sent(first)[-1] == K1


def test_a_key_without_a_folder_is_one_provider_s_trouble(
    pki: Path, first: Provider, second: Provider, tmp_path: Path
) -> None:
    other = upstream(name="letters", hosts=(EU,), listen=PORT + 1)
    with running(gateway(keyed(tmp_path / "nowhere"), other, ca=pki / "ca.pem")):
        assert ask().headers[REASON] == "failed_to_inject_credential"
        assert ask(PORT + 1).status == 200
    assert (first.seen, len(second.seen)) == ([], 1)


def test_a_certificate_and_its_key_may_be_two_files_in_two_folders(pki: Path, tmp_path: Path) -> None:
    place = Place("card", certificate=f"{tmp_path}/one/pem", key=f"{tmp_path}/two/key")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    put(tmp_path / "one" / "pem", (pki / "good.pem").read_text())
    up = upstream(client_certificate=place)
    with Provider(FIRST, PROVIDERS_PORT, pki, clients="ca"), running(gateway(up, ca=pki / "ca.pem")):
        assert ask().status == 503
        put(tmp_path / "two" / "key", (pki / "good.key").read_text())
        until(lambda: ask().status == 200, "an answer once the key is there", seconds=60)


def test_a_line_s_end_in_a_file_is_no_part_of_the_key(pki: Path, first: Provider, keys: Path) -> None:
    put(keys / "new", K2 + "\n")
    with running(gateway(keyed(keys), ca=pki / "ca.pem")):
        assert ask().status == 200
    assert sent(first) == [K2]


def test_a_key_that_becomes_empty_is_sent_no_more(pki: Path, first: Provider, keys: Path) -> None:
    with running(gateway(keyed(keys), ca=pki / "ca.pem")):
        assert ask().status == 200
        put(keys / "new", "")
        until(lambda: ask().status == 503, "a refusal")
        first.seen.clear()
        assert ask().headers[REASON] == "failed_to_inject_credential"
    assert first.seen == []


def test_a_refused_key_without_an_old_one_is_no_401_of_the_gateway_s(pki: Path, first: Provider, keys: Path) -> None:
    (keys / "old").unlink()
    first.behave = Door()
    with running(gateway(keyed(keys), ca=pki / "ca.pem")):
        got = ask()
    assert (got.status, got.headers[REASON]) == (503, "failed_to_inject_credential")
    assert sent(first) == [K1]


# Keys that are none


ODD = {
    "two lines": "5ecret\r\nX-Injected: 1",
    "a line feed": "5ecret\nX-Injected: 1",
    "a return": "5ecret\rX-Injected: 1",
    "a zero": "5ecret\0X-Injected: 1",
    "an escape": "5ecret\x1b[2J",
    "no text": "5ecret\xff\xfe\x01",
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.parametrize("protocol", ["http1", "auto"])
def test_what_no_header_can_hold_is_sent_to_nobody_and_told_nowhere(
    pki: Path, first: Provider, keys: Path, case: str, protocol: str
) -> None:
    for name in ("new", "old"):
        (keys / ".put").write_bytes(ODD[case].encode("latin-1"))
        (keys / ".put").rename(keys / name)
    with running(gateway(keyed(keys, protocol=protocol), ca=pki / "ca.pem"), log="debug") as proxy:
        got = ask()
        assert (got.status, "invalid_header_value" in got.headers[REASON]) == (503, True)
        proxy.stop()
        told = got.body.decode() + str(got.headers) + proxy.said() + Path(proxy.places.log).read_text()
    assert first.seen == []
    assert "5ecret" not in told
    assert "X-Injected" not in told


@pytest.mark.parametrize("key", ["5ecret::error::x", "5ecret" * (MIB // 6)], ids=["a pipeline's word", "1 MiB"])
def test_a_key_of_any_other_form_is_sent_as_it_is_and_told_nowhere(
    pki: Path, first: Provider, keys: Path, key: str
) -> None:
    put(keys / "new", key)
    with running(gateway(keyed(keys), ca=pki / "ca.pem")) as proxy:
        assert ask().status == 200
        proxy.stop()
        assert "5ecret" not in proxy.said() + Path(proxy.places.log).read_text()
    assert sent(first) == [key]


# While keys change


@dataclass
class Load:
    """Requests, half of them POST, on kept and on fresh connections until its end."""

    got: Counter[int] = field(default_factory=Counter)

    def more(self, requests: int = 30) -> None:
        before = self.got.total()
        until(lambda: self.got.total() >= before + requests, "more answers")


@contextmanager
def load() -> Iterator[Load]:
    found, end = Load(), threading.Event()

    def run(method: str, fresh: bool) -> None:
        wire = http.client.HTTPConnection(ADDRESS, PORT, timeout=120)
        while not end.is_set():
            try:
                wire.request(method, "/", b"pay" * 100)
                answer = wire.getresponse()
                answer.read()
                found.got[answer.status] += 1
            except (OSError, http.client.HTTPException):
                found.got[0] += 1
                wire.close()
            if fresh:
                wire.close()
            end.wait(0.002)

    threads = [threading.Thread(target=run, args=(m, fresh)) for m in ("GET", "POST") for fresh in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        end.set()
        for thread in threads:
            thread.join()


def test_a_new_key_that_the_provider_takes_already_costs_no_request(pki: Path, first: Provider, keys: Path) -> None:
    first.behave = door = Door({K1, K2})
    with running(gateway(keyed(keys), ca=pki / "ca.pem")), load() as under:
        under.more()
        put(keys / "new", K2)
        until(lambda: sent(first)[-4:] == [K2] * 4, "the new key in use")
        door.accepted = {K2}
        under.more()
        put(keys / "old", K2)
        under.more()
    assert set(under.got) == {200}


def test_a_new_key_that_the_provider_takes_only_later_costs_no_request(pki: Path, first: Provider, keys: Path) -> None:
    first.behave = door = Door({K1})
    with running(gateway(keyed(keys), ca=pki / "ca.pem")), load() as under:
        under.more()
        put(keys / "new", K2)
        put(keys / "old", K1)
        until(lambda: K2 in sent(first), "the new key tried")
        under.more()
        door.accepted = {K1, K2}
        under.more()
        door.accepted = {K2}
        under.more()
        put(keys / "new", K3)
        put(keys / "old", K2)
        until(lambda: K3 in sent(first), "the third key tried")
        under.more()
    assert set(under.got) == {200}


# A certificate


def pem(pki: Path, name: str) -> str:
    return (pki / f"{name}.pem").read_text() + (pki / f"{name}.key").read_text()


def shown(tmp_path: Path) -> Upstream:
    place = Place("card", certificate=f"{tmp_path}/shown/pem", key=f"{tmp_path}/shown/pem")
    return upstream(client_certificate=place)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    (tmp_path / "shown").mkdir()
    return tmp_path / "shown" / "pem"


def test_a_provider_that_asks_for_a_certificate_is_shown_it(pki: Path, tmp_path: Path, certificate: Path) -> None:
    put(certificate, pem(pki, certificates.GOOD))
    with (
        Provider(FIRST, PROVIDERS_PORT, pki, clients="ca") as first,
        running(gateway(shown(tmp_path), ca=pki / "ca.pem")),
    ):
        assert ask(method="POST").status == 200
        assert len(first.seen) == 1


@pytest.mark.parametrize("content", [None, "", "-----BEGIN"], ids=["missing", "empty", "half"])
def test_without_its_certificate_nothing_is_sent(
    pki: Path, tmp_path: Path, certificate: Path, content: str | None
) -> None:
    if content is not None:
        put(certificate, content)
    with (
        Provider(FIRST, PROVIDERS_PORT, pki) as first,
        running(gateway(shown(tmp_path), ca=pki / "ca.pem")),
    ):
        got = ask(method="POST")
        assert got.status == 503
        assert "Secret_is_not_supplied_by_SDS" in got.headers[REASON]
        assert first.seen == []
        put(certificate, pem(pki, certificates.GOOD))
        until(lambda: ask().status == 200, "an answer once the certificate is there", seconds=60)


def test_a_certificate_that_is_renamed_costs_no_request(pki: Path, tmp_path: Path, certificate: Path) -> None:
    put(certificate, pem(pki, certificates.GOOD))
    once = answers(connection="close")
    with (
        Provider(FIRST, PROVIDERS_PORT, pki, behave=once, clients="ca") as first,
        running(gateway(shown(tmp_path), ca=pki / "ca.pem")),
        load() as under,
    ):
        under.more()
        put(certificate, pem(pki, certificates.CLIENT))
        until(lambda: len(set(first.peers)) == 2, "the new certificate")
        under.more()
        until(lambda: len(set(first.peers[-4:])) == 1, "no more of the old one")
    assert set(under.got) == {200}


# A token


TOKENS = f"https://{EU}:{PROVIDERS_PORT}/oauth/token"


@dataclass
class Tokens:
    """A server of tokens. Each one it gives is another, and good for so many seconds."""

    ends: int = 3600
    secret: str = K1
    given: list[str] = field(default_factory=list)

    def __call__(self, request: Request, wire: ssl.SSLSocket) -> None:
        form = {name: one for name, (one, *_) in parse_qs(request.body.decode()).items()}
        asked = {"grant_type": "client_credentials", "client_id": "shop", "client_secret": self.secret}
        if not asked.items() <= form.items():
            answers(401, b'{"error": "invalid_client"}')(request, wire)
            return
        self.given.append(f"token-{len(self.given)}-c0ffee")
        told = {"access_token": self.given[-1], "token_type": "bearer", "expires_in": self.ends}
        answers(200, json.dumps(told).encode())(request, wire)


def by_token(keys: Path, **changes: Any) -> Upstream:
    oauth = OAuth(EU, PROVIDERS_PORT, TOKENS, "shop", ("pay", "read"))
    return keyed(keys, oauth=oauth, **changes)


def test_a_token_is_asked_for_once_and_sent(pki: Path, first: Provider, second: Provider, keys: Path) -> None:
    second.behave = tokens = Tokens()
    with running(gateway(by_token(keys), ca=pki / "ca.pem")):
        until(lambda: ask().status == 200, "an answer")
        first.seen.clear()
        assert [ask(headers={"Authorization": "mine"}).status for _ in range(5)] == [200] * 5
    assert [request.headers["authorization"] for request in first.seen] == [f"Bearer {tokens.given[0]}"] * 5
    (asked,) = second.seen
    assert (asked.method, asked.path, asked.headers["host"]) == ("POST", "/oauth/token", f"{EU}:{PROVIDERS_PORT}")
    assert parse_qs(asked.body.decode())["scope"] == ["pay read"]
    assert not [name for name in asked.headers if name.startswith(("x-", "authorization"))]


def test_a_token_is_asked_for_anew_before_it_ends(pki: Path, first: Provider, second: Provider, keys: Path) -> None:
    second.behave = tokens = Tokens(ends=2)
    first.behave = Door(header="authorization")
    with running(gateway(by_token(keys), ca=pki / "ca.pem")), load() as under:
        until(lambda: len(tokens.given) >= 1, "a token")
        first.behave.accepted = Always()
        until(lambda: len(tokens.given) >= 3, "a third token")
        until(lambda: first.seen[-1].headers["authorization"] == f"Bearer {tokens.given[-1]}", "its use")
    assert under.got


class Always(set[str]):
    def __contains__(self, _: object) -> bool:
        return True


def test_without_a_token_nothing_is_sent(pki: Path, first: Provider, keys: Path) -> None:
    with running(gateway(by_token(keys), ca=pki / "ca.pem")):
        got = ask(headers={"Authorization": "mine"})
        assert (got.status, got.headers[REASON]) == (503, "failed_to_inject_credential")
        assert first.seen == []
        with Provider(SECOND, PROVIDERS_PORT, pki, behave=Tokens()):
            until(lambda: ask().status == 200, "an answer once the token server is up", seconds=60)


def test_a_token_server_that_goes_down_takes_no_token_away(
    pki: Path, first: Provider, second: Provider, keys: Path
) -> None:
    second.behave = tokens = Tokens()
    with running(gateway(by_token(keys), ca=pki / "ca.pem")):
        until(lambda: ask().status == 200, "an answer")
        second.behave = BROKEN
        assert [ask().status for _ in range(5)] == [200] * 5
    assert len(tokens.given) == 1
    assert len(first.seen) >= 5


def test_a_wrong_secret_gets_no_token_and_the_right_one_does(
    pki: Path, first: Provider, second: Provider, keys: Path
) -> None:
    second.behave = tokens = Tokens(secret=K2)
    with running(gateway(by_token(keys), ca=pki / "ca.pem")):
        until(lambda: len(second.seen) >= 1, "a question")
        got = ask()
        assert (got.status, got.headers[REASON]) == (503, "failed_to_inject_credential")
        assert (first.seen, tokens.given) == ([], [])
        put(keys / "new", K2)
        until(lambda: ask().status == 200, "an answer with the right secret", seconds=60)


NO_TOKENS = {
    "half": b'{"access_token": "token-c0ffee", "expires_in": ',
    "of no time": b'{"access_token": "token-c0ffee", "expires_in": "soon"}',
    "ended": b'{"access_token": "token-c0ffee", "expires_in": 0}',
    "two lines": b'{"access_token": "token-c0ffee\\r\\nx: y", "expires_in": 3600}',
    "no object": b'["token-c0ffee"]',
    "empty": b'{"access_token": "", "expires_in": 3600}',
    "a page": b"<html>token-c0ffee</html>",
    "nothing": b"",
    "long": b'{"access_token": "token-c0ffee", "expires_in": 3600, "x": "' + b"x" * MIB + b'"}',
}


@pytest.mark.parametrize("case", NO_TOKENS)
def test_an_answer_that_is_no_token_is_told_nowhere_and_asked_for_again(
    pki: Path, first: Provider, second: Provider, keys: Path, case: str
) -> None:
    second.behave = in_turn([answers(200, NO_TOKENS[case])], Tokens())
    with running(gateway(by_token(keys), ca=pki / "ca.pem")) as proxy:
        until(lambda: len(second.seen) >= 1, "a question")
        until(lambda: ask().status == 200, "an answer with the next token")
        proxy.stop()
        assert "c0ffee" not in proxy.said()
    assert {request.headers["authorization"] for request in first.seen} == {"Bearer token-0-c0ffee"}


@pytest.mark.parametrize("status", [200, 201])
@pytest.mark.parametrize("end", ['"3600"', "3599.5", "3600", None])
def test_what_servers_say_of_a_token_s_end_is_read(
    pki: Path, first: Provider, second: Provider, keys: Path, end: str | None, status: int
) -> None:
    ends = f', "expires_in": {end}' if end else ""
    second.behave = answers(status, f'{{"access_token": "a.b-c_d~e+f/g=="{ends}}}'.encode(), kind="text/plain")
    with running(gateway(by_token(keys), ca=pki / "ca.pem")) as proxy:
        until(lambda: ask().status == 200, "an answer")
        assert "a.b-c" not in proxy.said()
    assert first.seen[-1].headers["authorization"] == "Bearer a.b-c_d~e+f/g=="
    assert len(second.seen) == 1


@pytest.mark.parametrize("bad", [certificates.EXPIRED, certificates.WRONG_NAME, certificates.WRONG_CA])
def test_a_token_server_is_verified(pki: Path, first: Provider, keys: Path, bad: str) -> None:
    with (
        Provider(SECOND, PROVIDERS_PORT, pki, bad, Tokens()) as server,
        running(gateway(by_token(keys), ca=pki / "ca.pem")),
    ):
        until(lambda: server.connections > 0, "a connection")
        assert ask().status == 503
        assert (server.seen, first.seen) == ([], [])


# Nothing tells them


def test_no_value_is_told_anywhere(
    pki: Path, first: Provider, second: Provider, keys: Path, tmp_path: Path, certificate: Path
) -> None:
    put(certificate, pem(pki, certificates.CLIENT))
    put(keys / "new", K2)
    (tmp_path / "token").mkdir()
    put(tmp_path / "token" / "new", K3)
    card = Place("card", certificate=str(certificate), key=str(certificate))
    tokens = Tokens(secret=K3)
    second.behave = lambda request, wire: (tokens if request.method == "POST" else answers())(request, wire)
    first.behave = Door({K1})
    oauth = by_token(tmp_path / "token")
    assert oauth.credential
    place = Place("tokens", new=f"{tmp_path}/token/new")
    other = upstream(
        name="letters", hosts=(EU,), listen=PORT + 1,
        credential=Credential(place, "Authorization", "", oauth.credential.oauth),
    )  # fmt: skip
    up = keyed(keys, client_certificate=card)
    with running(gateway(up, other, ca=pki / "ca.pem"), log="debug") as proxy:
        assert ask().status == 200
        until(lambda: ask(PORT + 1).status == 200, "an answer by a token")
        assert ask(method="POST", body=b"pay").status == 200
        told = {path: proxy.admin(path).body for path in (DUMP, "/stats", "/clusters", "/certs", "/listeners")}
        proxy.stop()
        told |= {"log": Path(proxy.places.log).read_bytes(), "said": proxy.said().encode()}
        for path in Path(proxy.places.folder).rglob("*.json"):
            told[path.name] = path.read_bytes()
    key = (pki / f"{certificates.CLIENT}.key").read_text().splitlines()[1]
    values = (K1, K2, K3, *tokens.given, key)
    assert len(tokens.given) == 1
    sought = {value: value.encode() for value in values}
    assert {where: found for where, text in told.items() if (found := planted.within(text, sought))} == {}
    assert all(told.values())
