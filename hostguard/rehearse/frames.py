"""Ethernet frames: what came out of a host, read as the wire has it, below every firewall."""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
NOBODY = "255.255.255.255"
ALL = 0x0003
TCP, UDP = 6, 17
IPV4_HEADER, IPV6_HEADER, ETHERNET_HEADER = 20, 40, 14


@dataclass(frozen=True)
class Packet:
    """The addresses of an IP packet; ports are 0 where its protocol has none."""

    protocol: int
    source: str
    destination: str
    source_port: int
    destination_port: int


def parse(frame: bytes) -> Packet | None:
    """The IP packet in a frame; None for anything else."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    body = frame[ETHERNET_HEADER:]
    if kind == IPV4 and len(body) >= IPV4_HEADER:
        length, protocol = (body[0] & 0xF) * 4, body[9]
        ends = socket.inet_ntop(socket.AF_INET, body[12:16]), socket.inet_ntop(socket.AF_INET, body[16:20])
    elif kind == IPV6 and len(body) >= IPV6_HEADER:
        length, protocol = IPV6_HEADER, body[6]
        ends = socket.inet_ntop(socket.AF_INET6, body[8:24]), socket.inet_ntop(socket.AF_INET6, body[24:40])
    else:
        return None
    ports = (0, 0)
    if protocol in (TCP, UDP) and len(body) >= length + 4:
        ports = struct.unpack_from("!HH", body, length)
    return Packet(protocol, *ends, *ports)


def tap(interface: str) -> socket.socket:
    """A socket that sees every frame of an interface."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
    opened.bind((interface, 0))
    return opened


def hardware_address(interface: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind((interface, 0))
        return bytes(opened.getsockname()[4])


def sentinel(source: bytes, number: int) -> bytes:
    """A frame that says: what left before me was sent before me. ARP, since the rules for frames let that out, from
    an address that nobody has."""
    return arp_request(source, NOBODY, socket.inet_ntoa(struct.pack("!I", number)))


def sentinel_number(frame: bytes) -> int | None:
    if struct.unpack_from("!H", frame, 12)[0] != ARP or frame[28:32] != socket.inet_aton(NOBODY):
        return None
    return int(struct.unpack_from("!I", frame, 38)[0])


def arp_request(source: bytes, own: str, wanted: str) -> bytes:
    """Who has `wanted`? Answered by the peer's kernel in the order of its queue, whatever its firewall says."""
    fixed = struct.pack("!HHBBH", 1, IPV4, 6, 4, 1)
    body = fixed + source + socket.inet_aton(own) + b"\0" * 6 + socket.inet_aton(wanted)
    return b"\xff" * 6 + source + struct.pack("!H", ARP) + body


def is_arp_reply(frame: bytes) -> bool:
    if len(frame) < ETHERNET_HEADER + 8:
        return False
    kind, operation = struct.unpack_from("!H", frame, 12)[0], struct.unpack_from("!H", frame, 20)[0]
    return bool(kind == ARP and operation == 2)


def udp_over_ipv4(source: bytes, destination: bytes, sender: str, receiver: str) -> bytes:
    """A whole frame with a UDP packet in it, as a packet socket sends it past every chain of iptables."""
    packed = socket.inet_aton(sender) + socket.inet_aton(receiver)
    header = struct.pack("!BBHHHBBH", 0x45, 0, IPV4_HEADER + 8, 0, 0, 64, UDP, 0) + packed
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + header[12:]
    return destination + source + struct.pack("!H", IPV4) + header + struct.pack("!HHHH", 9, 9, 8, 0)


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET if ipaddress.ip_address(address).version == 4 else socket.AF_INET6
