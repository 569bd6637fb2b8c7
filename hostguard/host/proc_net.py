"""The tables of /proc/net/tcp, tcp6, udp and udp6 (proc_net(5)): a socket a line, as any host prints them (pure)."""

from __future__ import annotations

import socket
import struct
from typing import Iterator, List, NamedTuple, Tuple

LISTEN, ESTABLISHED = "0A", "01"  # include/net/tcp_states.h


class Row(NamedTuple):
    """One socket. Addresses are as the table has them: see `listed` and `decode`."""

    words: List[str]

    @property
    def place(self) -> str:
        """Address and port, with a colon between."""
        return self.words[1].upper()

    @property
    def address(self) -> str:
        return self.place.rpartition(":")[0]

    @property
    def port(self) -> int:
        return int(self.place.rpartition(":")[2], 16)

    @property
    def peer(self) -> str:
        return self.words[2].rpartition(":")[0]

    @property
    def peer_port(self) -> int:
        return int(self.words[2].rpartition(":")[2], 16)

    @property
    def state(self) -> str:
        return self.words[3]

    @property
    def uid(self) -> int:
        return int(self.words[7])


def rows(table: str) -> Iterator[Row]:
    """Every socket below the head of a table. What is asked of a line that is cut short raises IndexError or
    ValueError."""
    return (Row(line.split()) for line in table.splitlines()[1:])


def listed(packed: bytes) -> str:
    """An address as the tables of a little-endian machine have it, which are those that Envoy is built for: words of
    four bytes, the last byte first."""
    return "".join(packed[at : at + 4][::-1].hex().upper() for at in range(0, len(packed), 4))


def decode(digits: str) -> Tuple[str, str]:
    """Family and text of an address of this machine's tables, in its own byte order; ::ffff:a.b.c.d is IPv4."""
    words = [int(digits[at : at + 8], 16) for at in range(0, len(digits), 8)]
    packed = struct.pack("={}I".format(len(words)), *words)
    if len(packed) == 16 and packed[:12] == b"\0" * 10 + b"\xff\xff":
        packed = packed[12:]
    if len(packed) == 4:
        return "ipv4", socket.inet_ntop(socket.AF_INET, packed)
    return "ipv6", socket.inet_ntop(socket.AF_INET6, packed)
