"""The DNS answers that reach this host, read off the wire while somebody listens: who knows a name's addresses.

A packet socket sees them wherever they come from, a stub on loopback included, and needs no rule. Answers over TCP,
TLS or HTTPS are not seen, unless a stub passes them on.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct
from typing import List

ETH_P_ALL = 0x0003
SO_ATTACH_FILTER = 26
LONGEST = 4096
ADDRESSES = (1, 28)  # the types A and AAAA
DNS = 53

# Classic BPF (linux/filter.h) over a packet without its link-layer header.
LOAD_HALF, LOAD_BYTE, LOAD_HALF_AT_X, LENGTH_TO_X = 0x28, 0x30, 0x48, 0xB1
IF_EQUAL, IF_ANY_BIT, RETURN = 0x15, 0x45, 0x06
PROTOCOL, PACKET_TYPE = 0xFFFFF000, 0xFFFFF004  # SKF_AD_OFF + SKF_AD_PROTOCOL, SKF_AD_PKTTYPE
OUTGOING = 4
FILTER = (
    (LOAD_BYTE, 0, 0, PACKET_TYPE),
    (IF_EQUAL, 14, 0, OUTGOING),
    (LOAD_HALF, 0, 0, PROTOCOL),
    (IF_EQUAL, 0, 7, 0x0800),
    (LOAD_BYTE, 0, 0, 9),
    (IF_EQUAL, 0, 10, socket.IPPROTO_UDP),
    (LOAD_HALF, 0, 0, 6),
    (IF_ANY_BIT, 8, 0, 0x1FFF),  # a later fragment
    (LENGTH_TO_X, 0, 0, 0),
    (LOAD_HALF_AT_X, 0, 0, 0),
    (IF_EQUAL, 4, 5, DNS),
    (IF_EQUAL, 0, 4, 0x86DD),
    (LOAD_BYTE, 0, 0, 6),
    (IF_EQUAL, 0, 2, socket.IPPROTO_UDP),
    (LOAD_HALF, 0, 0, 40),
    (IF_EQUAL, 1, 0, DNS),
    (RETURN, 0, 0, 0),
    (RETURN, 0, 0, LONGEST),
)


class Answers:
    """Hears of every answer over UDP to a question for addresses, until it is closed."""

    def __init__(self) -> None:
        self.channel = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in FILTER))
        attached = struct.pack("HP", len(FILTER), ctypes.addressof(program))
        try:
            self.channel.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, attached)
        except BaseException:
            self.channel.close()
            raise
        self.channel.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:  # what came before the filter was there
                self.channel.recv(1)

    def fileno(self) -> int:
        return self.channel.fileno()

    def read(self, most: int) -> List[bytes]:
        """DNS messages that have come."""
        found = []
        for _ in range(most):
            try:
                message = _message(self.channel.recv(LONGEST))
            except BlockingIOError:
                break
            if for_addresses(message):
                found.append(message)
        return found

    def close(self) -> None:
        self.channel.close()


def _message(packet: bytes) -> bytes:
    """The DNS message in an IP packet that the filter let through."""
    header = (packet[0] & 0xF) * 4 if packet and packet[0] >> 4 == 4 else 40
    return packet[header + 8 :]


def for_addresses(message: bytes) -> bool:
    """Whether it answers one question, for the addresses of a name (RFC 1035, 4.1): other answers may hold anything,
    and do not leave this host."""
    if len(message) < 12:
        return False
    flags, questions = struct.unpack_from(">HH", message, 2)
    if not flags & 0x8000 or questions != 1:
        return False
    at = 12
    while at < len(message) and message[at]:
        if message[at] > 63:  # no label: a question has no pointers
            return False
        at += message[at] + 1
    return len(message) >= at + 5 and struct.unpack_from(">H", message, at + 1)[0] in ADDRESSES
