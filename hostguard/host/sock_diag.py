"""The kernel's sockets as sock_diag(7) tells of them."""

from __future__ import annotations

import os
import socket
import struct
from typing import List, Optional, Tuple

from . import netlink

FAMILY = 4
BY_FAMILY = 20
ALL_STATES = 0xFFFFFFFF
UID_AT, INODE_AT = 64, 68  # within struct inet_diag_msg
End = Tuple[int, bytes]
"""A port, and an address as packets carry it."""


def sock_diag(
    family: int, protocol: int, states: int = ALL_STATES, only: Optional[Tuple[End, End]] = None
) -> List[bytes]:
    """The bodies of one inet_diag dump (linux/inet_diag.h: inet_diag_req_v2 has 56 bytes), or of the one socket with
    these ends."""
    (port, address), (peer_port, peer) = only or ((0, b""), (0, b""))
    # No interface, and INET_DIAG_NOCOOKIE: whichever socket it is.
    identity = struct.pack(">HH16s16s4x", port, peer_port, address, peer) + b"\xff" * 8
    request = struct.pack("=BBBBI", family, protocol, 0, 0, states) + identity
    return _asked(request, every=not only)


SHOW_NAME, NAME = 1, 0
LISTENING = 1 << 10  # TCP_LISTEN


def unix_sockets() -> List[Tuple[int, str]]:
    """The inode and the path of each Unix socket that takes connections and has one (linux/unix_diag.h). Raises OSError
    (ENOENT) where this kernel can't tell."""
    found = []
    for body in _asked(struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, LISTENING, 0, SHOW_NAME, 0, 0), every=True):
        name = dict(netlink.attributes(body[16:])).get(NAME, b"").rstrip(b"\0")
        if name.startswith(b"/"):  # one without a path begins with a zero, or has no name
            found.append((struct.unpack_from("=I", body, 4)[0], os.fsdecode(name)))
    return found


def _asked(request: bytes, every: bool) -> List[bytes]:
    flags = netlink.REQUEST | (netlink.DUMP if every else 0)
    bodies: List[bytes] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, FAMILY) as channel:
        channel.settimeout(10)
        channel.send(netlink.message(BY_FAMILY, flags, request))
        while True:
            for kind, body in netlink.messages(channel.recv(1 << 18)):
                if kind == netlink.DONE:
                    return bodies
                if kind == netlink.ERROR:
                    netlink.refuse(body, "sock_diag")
                    continue
                bodies.append(body)
            if not every:
                return bodies
