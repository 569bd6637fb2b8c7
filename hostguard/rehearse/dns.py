"""What a resolver of the world says (RFC 1035), and from where."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Sequence

IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_FREEBIND = 8, 49, 50, 78
# IPv4 sends from whatever a local route holds, IPv6 from an address alone: unless it is told that it may.
NO_ERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
HEAD = 12
A_IN = b"\0\1\0\1"


def name_of(question: bytes) -> str:
    """The name that is asked for, in lower case."""
    labels, at = [], HEAD
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode("latin-1").lower())
        at += 1 + question[at]
    return ".".join(labels)


def answer(question: bytes, addresses: Sequence[str], ttl: int = 60, code: int = NO_ERROR) -> bytes:
    """These addresses of IPv4 for the name that is asked for, which has nothing else. `ttl` in seconds."""
    end = question.index(b"\0", HEAD) + 5
    found = addresses if question[end - 4 : end] == A_IN and code == NO_ERROR else ()
    records = (b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, ttl, 4, socket.inet_aton(each)) for each in found)
    header = question[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(found), 0, 0)
    return header + question[HEAD:end] + b"".join(records)


def tells_where(opened: socket.socket) -> None:
    """From now on a question to this socket says which address was asked."""
    if opened.family == socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        opened.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)


def reply(opened: socket.socket, say: Callable[[bytes], bytes | None]) -> None:
    """Answer the next question from the very address that was asked: a wildcard socket would choose another. None is
    no answer."""
    data, ancillary, _, peer = opened.recvmsg(2048, 256)
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            # struct in_pktinfo: interface, the address to send from, the address of the packet
            info = struct.pack("@I4s4s", 0, value[8:12], b"\0" * 4)
        elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            info = value[:16] + struct.pack("@I", 0)
        else:
            continue
        said = say(data)
        if said is not None:
            with contextlib.suppress(OSError):
                opened.sendmsg([said], [(level, kind, info)], 0, peer)
