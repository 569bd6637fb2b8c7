"""What comes off the wire is anybody's: headers and DNS messages are read as others read them, or not at all."""

from __future__ import annotations

import socket
import struct

import dns.message
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st

from hostguard.host.dns_answers import for_addresses
from hostguard.host.nflog import Packet, parse

PORTS = struct.pack(">HH", 40000, 443)
TCP = PORTS + bytes(9) + b"\x12" + bytes(6)


def ipv4(number: int, body: bytes, fragment: int = 0, options: bytes = b"") -> bytes:
    head = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 0, 0, fragment, 64, number, 0)
    return head + socket.inet_aton("10.0.0.1") + socket.inet_aton("203.0.113.5") + options + body


def ipv6(number: int, body: bytes) -> bytes:
    ends = socket.inet_pton(socket.AF_INET6, "2001:db8::1") + socket.inet_pton(socket.AF_INET6, "2001:db8::5")
    return struct.pack(">IHBB", 6 << 28, len(body), number, 64) + ends + body


def read(data: bytes) -> Packet:
    found = parse("hostguard deny: answer", "output", data, 7)
    assert found is not None
    return found


def test_headers() -> None:
    first = read(ipv4(6, TCP, options=bytes(8)))
    assert first == Packet("deny", "output", True, "tcp", "10.0.0.1", 40000, "203.0.113.5", 443, 0x12, 7)
    assert read(ipv6(6, TCP))[3:9] == ("tcp", "2001:db8::1", 40000, "2001:db8::5", 443, 0x12)
    behind = ipv6(0, struct.pack(">BB6x", 44, 0) + struct.pack(">BBHI", 17, 0, 0, 1) + PORTS)
    assert read(behind)[3:8] == ("udp", "2001:db8::1", 40000, "2001:db8::5", 443)
    # What is not the first fragment has data where ports would be.
    assert read(ipv4(17, PORTS, fragment=3))[5:8:2] == (0, 0)
    assert read(ipv6(44, struct.pack(">BBHI", 17, 0, 8, 1) + PORTS))[3:8:2] == ("udp", 0, 0)
    assert (read(ipv6(58, b"\x80\x00")).protocol, read(ipv6(58, b"\x80\x00")).port) == ("icmp", 128)
    assert read(ipv4(99, b"")).protocol == "99"


@given(st.binary(max_size=100) | st.binary(max_size=60).map(lambda body: b"\x60" + body) | st.binary(max_size=60).map(
    lambda body: ipv6(0, body)))  # fmt: skip
def test_no_packet_is_too_odd(data: bytes) -> None:
    assert parse("hostguard observe: ", "output", data, None) is None or data[0] >> 4 in (4, 6)


@given(st.binary(max_size=80))
def test_no_message_is_too_odd(data: bytes) -> None:
    assert for_addresses(data) in (True, False)


@given(st.lists(st.from_regex(r"[a-z0-9-]{1,20}", fullmatch=True), min_size=1, max_size=5), st.integers(1, 60),
       st.booleans())  # fmt: skip
def test_answers_for_addresses_alone_leave_the_host(labels: list[str], kind: int, answers: bool) -> None:
    message = dns.message.make_query(".".join(labels), dns.rdatatype.RdataType.make(kind))
    if answers:
        message = dns.message.make_response(message)
    assert for_addresses(message.to_wire()) == (answers and kind in (1, 28))
