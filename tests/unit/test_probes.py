"""What a host does for a diagnosis: it reads certificates, answers of name servers and its journal, and calls by other
accounts; odd bytes of others make none of them fail in a way of their own."""

from __future__ import annotations

import os
import random
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostguard.host import x509
from hostguard.host.children import Call, together
from hostguard.host.evidence import firewall, handshakes, questions
from hostguard.rehearse.certificates import Leaf, make
from tests.patience import slowness

pytestmark = pytest.mark.alone
NAMES = ("api.provider.com", "eu.api.provider.com")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    make(folder, {"leaf": Leaf(NAMES), "over": Leaf(NAMES, days=-1)}, ("ca", "stranger"))
    return folder


def openssl(*arguments: str) -> str:
    return subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=True).stdout


def test_a_certificate_says_what_openssl_reads_in_it(pki: Path) -> None:
    (der,) = x509.of_pem((pki / "leaf.pem").read_bytes())
    found = x509.described(der)
    end = openssl("x509", "-in", str(pki / "leaf.pem"), "-noout", "-enddate").strip().removeprefix("notAfter=")
    assert found["ends"] == ssl.cert_time_to_seconds(end)
    assert (found["subject"], found["issuer"], tuple(found["names"]), found["own"]) == (
        "a provider",
        "ca",
        NAMES,
        False,
    )
    (root,) = x509.of_pem((pki / "ca.pem").read_bytes())
    assert x509.described(root)["own"] is True


def test_a_file_of_keys_has_no_certificate(pki: Path) -> None:
    assert x509.of_pem((pki / "leaf.key").read_bytes()) == []


def test_bytes_that_are_no_certificate_are_refused_as_such(pki: Path) -> None:
    some = random.Random(7)
    (der,) = x509.of_pem((pki / "leaf.pem").read_bytes())
    for _ in range(3000):
        odd = bytearray(der[: some.randrange(1, len(der) + 1)])
        for _ in range(some.randrange(4)):
            odd[some.randrange(len(odd))] = some.randrange(256)
        try:
            found = x509.described(bytes(odd))
        except x509.NoCertificate:
            continue
        assert len(found["subject"]) <= x509.LONGEST_NAME


def test_odd_answers_of_a_name_server_are_one_of_dns_s_own_words() -> None:
    good = questions.query(7, "api.provider.com", "A")
    answer = bytearray(good)
    answer[2:4], answer[6:8] = b"\x81\x80", b"\x00\x01"
    answer += b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x07"
    assert questions.read(bytes(answer)) == ("NOERROR", ["192.0.2.7"], 60)
    some = random.Random(8)
    for _ in range(3000):
        odd = bytearray(answer[: some.randrange(len(answer) + 1)])
        for _ in range(some.randrange(4) if odd else 0):
            odd[some.randrange(len(odd))] = some.randrange(256)
        code, addresses, ttl = questions.read(bytes(odd))
        assert code in questions.CODES or code.startswith("code ")
        assert all(":" in each or each.count(".") == 3 for each in addresses)
        assert ttl >= 0


def test_denials_are_counted_by_who_and_where_to() -> None:
    line = "hostguard deny: IN= OUT=eth0 SRC=10.0.0.9 DST={} LEN=60 PROTO={} SPT=4000 DPT={} SEQ=1 {}"
    journal = "\n".join([
        line.format("198.51.100.66", "TCP", 443, "UID=0 GID=0"),
        line.format("198.51.100.66", "TCP", 443, "UID=0 GID=0"),
        line.format("2001:0db8:0000:0000:0000:0000:0000:0007", "UDP", 53, ""),
        "hostguard deny: IN= OUT=eth0 SRC=10.0.0.9 DST=192.0.2.1 PROTO=ICMP TYPE=8",
        "something else: DST=192.0.2.1 PROTO=TCP DPT=1",
    ])  # fmt: skip
    assert firewall._denials(journal) == [
        {"account": "root", "protocol": "tcp", "to": "198.51.100.66", "port": 443, "count": 2},
        {"account": "", "protocol": "udp", "to": "2001:db8::7", "port": 53, "count": 1},
    ]


def fail(_: None) -> None:
    raise ValueError("no")


def test_calls_are_answered_in_order_and_what_fails_says_why() -> None:
    calls = [
        Call(None, str.upper, "a"),
        Call("nobody-there", str.upper, "b"),
        Call(None, fail, None),
        Call(None, str, 7),
    ]
    first, second, third, fourth = together(calls, 30)
    assert (first, fourth) == ({"said": "A"}, {"said": "7"})
    assert second == {"unreadable": "there is no account nobody-there on this host"}
    assert "ValueError: no" in third["unreadable"]


def wait(pipe: int) -> None:
    os.read(pipe, 1)


def test_a_call_that_does_not_end_is_not_waited_for() -> None:
    ours, theirs = os.pipe()
    try:
        late, well = together([Call(None, wait, ours), Call(None, str, 1)], 2 * slowness())
    finally:
        os.close(ours)
        os.close(theirs)
    assert well == {"said": "1"}
    assert "did not end within" in late["unreadable"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another account")
def test_another_account_calls() -> None:
    (found,) = together([Call("nobody", who, None)], 30)
    assert found == {"said": [65534, 65534, 65534]}


def who(_: None) -> list[int]:
    return list(os.getresuid())


@pytest.fixture
def server(pki: Path, request: pytest.FixtureRequest) -> Iterator[int]:
    """A TLS server with this certificate; with a mark behind it, of this version, asking for a certificate."""
    name, version, asks = request.param
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    context.maximum_version = version
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pki / "ca.pem")

    def serve() -> None:
        try:
            caller, _ = listener.accept()
            with context.wrap_socket(caller, server_side=True) as secure:
                secure.recv(1)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


V2, V3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def shaken(port: int, pki: Path, ca: str = "ca", **more: str) -> dict[str, object]:
    to = {"host": "127.0.0.1", "port": port, "account": None, "tls": True, "ca": str(pki / f"{ca}.pem"), **more}
    (found,) = handshakes.handshakes({"to": [to]})["found"]
    said: dict[str, object] = found["said"]
    return said


@pytest.mark.parametrize("server", [("leaf", V2, False), ("leaf", V3, False)], indirect=True)
def test_a_handshake_tells_the_whole_chain_also_where_it_does_not_hold(server: int, pki: Path) -> None:
    found = shaken(server, pki)
    assert (found["stage"], found["verify"]) == ("tls", 64), "the certificate is for names, and not for 127.0.0.1"
    assert [each["subject"] for each in found["chain"]] == ["a provider"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("server", [("leaf", V3, False)], indirect=True)
def test_an_authority_that_nobody_knows_is_told_by_openssl_s_own_number(server: int, pki: Path) -> None:
    assert shaken(server, pki, "stranger")["verify"] == 20


@pytest.mark.parametrize("server", [("leaf", V3, False)], indirect=True)
def test_a_file_that_can_t_be_read_is_no_word_about_the_provider(server: int, pki: Path) -> None:
    found = shaken(server, pki, certificate=str(pki / "none.pem"), key=str(pki / "none.key"))
    assert (found["stage"], found["error"]) == ("files", "ENOENT")


def test_a_port_where_nobody_is_and_a_name_that_is_none() -> None:
    to = [{"host": "127.0.0.1", "port": 1, "account": None, "tls": False},
          {"host": "nowhere.invalid", "port": 1, "account": None, "tls": False}]  # fmt: skip
    refused, unknown = (each["said"] for each in handshakes.handshakes({"to": to})["found"])
    assert (refused["stage"], refused["error"]) == ("connect", "ECONNREFUSED")
    assert (unknown["stage"], unknown["error"][:4]) == ("resolve", "EAI_")
