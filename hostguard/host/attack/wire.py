"""Packet sockets: whole frames, which no rule of iptables ever sees (CAP_NET_RAW)."""

from __future__ import annotations

import mmap
import socket
import struct
from typing import Any, Dict, List

from . import packets
from .shot import Shot, preparing

IPV4, ARP, VLAN, IPV6, EXPERIMENTAL = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88B5
PACKET_TX_RING, PACKET_VNET_HDR, PACKET_QDISC_BYPASS = 13, 15, 20
SOL_PACKET = 263
EVERYBODY = b"\xff" * 6
FOREIGN = bytes.fromhex("026867000099")
LLC = b"\xaa\xaa\x03"
RING_FRAME, HEADER = 2048, 32
"""Of a ring of packet(7)'s first version: a frame's room, and what stands before the frame in it."""


def arp(own: bytes, source: str, wanted: str) -> bytes:
    """Who has an address?"""
    return struct.pack("!HHBBH", 1, IPV4, 6, 4, 1) + own + packets.packed(source) + bytes(6) + packets.packed(wanted)


def who_has(own: bytes, source: str, wanted: str) -> bytes:
    """The same, as a frame of a device."""
    return EVERYBODY + own + struct.pack("!H", ARP) + arp(own, source, wanted)


def bodies(shot: Shot) -> List[bytes]:
    kind = shot.options.get("kind", 0)
    if kind == ARP:
        # Behind it stands what nobody asked for.
        return [arp(bytes.fromhex(shot.hardware), shot.source, shot.address) + packets.bare(shot, "")]
    return [packets.bare(shot, "")] if kind else packets.packets(shot)


def kind_of(shot: Shot) -> int:
    return int(shot.options.get("kind") or (IPV6 if shot.family == socket.AF_INET6 else IPV4))


def frames(shot: Shot) -> List[bytes]:
    options = shot.options
    to = EVERYBODY if options.get("to_everybody") else bytes.fromhex(options.get("group", shot.next_hardware))
    source = FOREIGN if options.get("foreign") else bytes.fromhex(shot.hardware)
    tag = struct.pack("!HH", VLAN, 7) if options.get("tag") else b""
    made = []
    for body in bodies(shot):
        if options.get("llc"):
            made.append(to + source + struct.pack("!H", len(LLC) + len(body)) + LLC + body)
        else:
            made.append(to + source + tag + struct.pack("!H", kind_of(shot)) + body)
    return made


def frame(shot: Shot) -> Dict[str, Any]:
    options = shot.options
    with preparing():
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM if options.get("datagram") else socket.SOCK_RAW, 0)
    with opened as out:
        if options.get("bypass"):
            out.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
        if options.get("datagram"):
            for body in bodies(shot):
                out.sendto(body, (shot.interface, kind_of(shot), 0, 0, bytes.fromhex(shot.next_hardware)))
            return {}
        if options.get("ring"):
            _through_ring(out, shot)
            return {}
        prefix = b""
        if options.get("offload"):
            out.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            prefix = bytes(10)  # struct virtio_net_hdr: nothing to be done
        # Bound to no protocol: a socket that would also receive makes the kernel copy everything that passes.
        out.bind((shot.interface, 0))
        for whole in frames(shot):
            out.send(prefix + whole)
    return {}


def _through_ring(out: socket.socket, shot: Shot) -> None:
    """Frames from memory that is shared with the kernel (PACKET_TX_RING)."""
    out.setsockopt(SOL_PACKET, PACKET_TX_RING, struct.pack("=IIII", mmap.PAGESIZE, 1, RING_FRAME, 2))
    out.bind((shot.interface, 0))
    with mmap.mmap(out.fileno(), mmap.PAGESIZE) as ring:
        whole = frames(shot)[0]
        ring[HEADER : HEADER + len(whole)] = whole
        # struct tpacket_hdr: status (1: send it), length, length again
        ring[:16] = struct.pack("@LII", 1, len(whole), len(whole))
        out.send(b"")
