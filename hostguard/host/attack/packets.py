"""IP packets by hand: what no socket of the kernel's would send."""

from __future__ import annotations

import socket
import struct
from dataclasses import replace
from typing import Callable, Dict, List, Tuple

from .shot import Shot

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
ROUTING, FRAGMENT = 43, 44
MORE = 0x2000  # of IPv4's flags
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
FOREIGN = {4: "192.0.2.99", 6: "2001:db8:99::99"}
"""A source that is no host's of ours."""


def checksum(data: bytes) -> int:
    padded = data + b"\0" * (len(data) % 2)
    total = sum(int(word) for word in struct.unpack("!{}H".format(len(padded) // 2), padded))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def pseudo(source: str, destination: str, protocol: int, length: int) -> bytes:
    """What checksums of transports count beside their own bytes."""
    ends = packed(source) + packed(destination)
    return ends + (
        struct.pack("!II", length, protocol) if ":" in destination else struct.pack("!BBH", 0, protocol, length)
    )


def ipv4(source: str, to: str, protocol: int, body: bytes, number: int, cut: int = 0, options: bytes = b"") -> bytes:
    """`cut`: flags and offset of a fragment."""
    length = 20 + len(options)
    ends = packed(source) + packed(to)
    start = struct.pack("!BBHHHBB", 0x40 | length // 4, 0, length + len(body), number & 0xFFFF, cut, 64, protocol)
    return start + struct.pack("!H", checksum(start + b"\0\0" + ends + options)) + ends + options + body


def ipv6(source: str, to: str, protocol: int, body: bytes, hops: int = 64) -> bytes:
    return struct.pack("!IHBB", 0x60000000, len(body), protocol, hops) + packed(source) + packed(to) + body


def extension(kind: int, following: int, to: str) -> bytes:
    """One extension header of IPv6."""
    if kind == FRAGMENT:  # of a packet in one piece
        return struct.pack("!BBHI", following, 0, 0, 0x6867)
    if kind == ROUTING:  # type 4, one segment, and it is the last (RFC 8754)
        return struct.pack("!BBBBBBH", following, 2, 4, 0, 0, 0, 0) + packed(to)
    return struct.pack("!BBBBI", following, 0, 1, 4, 0)  # padding alone


def tcp(shot: Shot, source: str) -> bytes:
    """Its two numbers are the token: a bare header has no other place."""
    flags = sum(FLAGS[letter] for letter in shot.options.get("flags", "A"))
    ports = struct.pack("!HH", shot.options.get("sport", shot.mark), shot.port)
    text = ports + shot.token + struct.pack("!BBHHH", 5 << 4, flags, 1024, 0, 0)
    return _summed(text, 16, source, shot.address, TCP)


def udp(shot: Shot, source: str) -> bytes:
    body = shot.token + bytes(shot.options.get("more", 16))
    text = struct.pack("!HHHH", shot.options.get("sport", shot.mark), shot.port, 8 + len(body), 0) + body
    return _summed(text, 6, source, shot.address, UDP)


def icmp(shot: Shot, source: str) -> bytes:
    """The eight bytes after type, code and checksum are the token, as an echo's numbers and first data are."""
    v6 = ":" in shot.address
    kind = shot.options.get("type", 128 if v6 else 8)
    text = struct.pack("!BBH", kind, shot.options.get("code", 0), 0) + inside_icmp(shot)
    return _summed(text, 2, source, shot.address, ICMPV6) if v6 else _plain_sum(text)


def inside_icmp(shot: Shot) -> bytes:
    """Neighbour messages name an address; behind it stands what they carry."""
    about = packed(shot.address) if shot.options.get("neighbour") else b""
    return bytes(4) * bool(about) + about + shot.token + bytes(shot.options.get("more", 8))


def _plain_sum(text: bytes) -> bytes:
    return text[:2] + struct.pack("!H", checksum(text)) + text[4:]


def _summed(text: bytes, at: int, source: str, to: str, protocol: int) -> bytes:
    total = checksum(pseudo(source, to, protocol, len(text)) + text) or 0xFFFF
    return text[:at] + struct.pack("!H", total) + text[at + 2 :]


def bare(shot: Shot, _source: str) -> bytes:
    return shot.token + bytes(shot.options.get("more", 8))


TRANSPORTS: Dict[str, Tuple[int, Callable[[Shot, str], bytes]]] = {
    "tcp": (TCP, tcp),
    "udp": (UDP, udp),
    "icmp": (ICMP, icmp),
    "icmpv6": (ICMPV6, icmp),
}


def packets(shot: Shot) -> List[bytes]:
    """The IP packets of a shot: one, one a protocol, or its fragments."""
    options = shot.options
    version = 6 if ":" in shot.address else 4
    source = FOREIGN[version] if options.get("spoofed") else options.get("source") or shot.source
    if options.get("reflected"):
        source, shot = shot.address, replace(shot, address=shot.source)
    if options.get("every") == "protocol":
        return [_ip(shot, source, number, bare(shot, source)) for number in range(256)]
    of = options.get("of", "udp")
    if of == "icmp" and version == 6:
        of = "icmpv6"
    number, make = TRANSPORTS.get(of, (options.get("protocol", 253), bare))
    body = make(shot, source)
    if options.get("cut"):
        return _fragments(shot, source, number, body)
    for kind in reversed(options.get("headers", ())):
        body, number = extension(kind, number, shot.address) + body, kind
    return [_ip(shot, source, number, body)]


def _ip(shot: Shot, source: str, protocol: int, body: bytes, cut: int = 0) -> bytes:
    if ":" in shot.address:
        return ipv6(source, shot.address, protocol, body, shot.options.get("hops", 64))
    route = shot.options.get("ip_options")
    return ipv4(source, shot.address, protocol, body, shot.mark, cut, bytes.fromhex(route) if route else b"")


CUTS: Dict[str, Callable[[int], List[Tuple[int, int]]]] = {
    # (from, to) of a body of some length, in bytes; all but the last say that more will follow.
    "first": lambda _: [(0, 24)],
    "later": lambda length: [(8, length)],
    "tiny": lambda length: [(at, min(at + 8, length)) for at in range(0, length, 8)],
    "overlapping": lambda length: [(0, 24), (8, length)],
    "backwards": lambda length: [(16, length), (0, 16)],
}


def _fragments(shot: Shot, source: str, protocol: int, body: bytes) -> List[bytes]:
    made = []
    for start, end in CUTS[shot.options["cut"]](len(body)):
        more = end < len(body)
        if ":" in shot.address:
            header = struct.pack("!BBHI", protocol, 0, start | int(more), shot.mark)
            made.append(_ip(shot, source, FRAGMENT, header + body[start:end]))
        else:
            made.append(_ip(shot, source, protocol, body[start:end], (MORE if more else 0) | start // 8))
    return made
