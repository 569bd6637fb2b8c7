"""Netlink's messages and attributes as bytes (netlink(7)): packed, and read. Everything is padded to four bytes."""

from __future__ import annotations

import os
import struct
from typing import Iterator, Tuple

REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
ERROR, DONE = 2, 3
HEADER = 16
"""Bytes of struct nlmsghdr."""
KIND = 0x3FFF
"""The bits of an attribute's type that are no flags (NLA_F_NESTED, NLA_F_NET_BYTEORDER)."""


def message(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", HEADER + len(body), kind, flags, 1, 0) + body


def messages(data: bytes) -> Iterator[Tuple[int, bytes]]:
    """(kind, body) of each message in what was received."""
    while len(data) >= HEADER:
        length, kind = struct.unpack_from("=IH", data)
        yield kind, data[HEADER:length]
        data = data[(length + 3) & ~3 :] if length >= HEADER else b""


def error_in(body: bytes) -> int:
    """The errno that the body of an ERROR tells; 0 where it acknowledges."""
    return -int(struct.unpack_from("=i", body)[0])


def refuse(body: bytes, what: str) -> None:
    """Raises OSError where the body of an ERROR tells of one."""
    code = error_in(body)
    if code:
        raise OSError(code, "{}: {}".format(what, os.strerror(code)))


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def attributes(data: bytes) -> Iterator[Tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & KIND, data[4:length]
        data = data[(length + 3) & ~3 :] if length >= 4 else b""
