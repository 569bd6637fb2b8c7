"""Ordinary sockets, and what may be asked of them."""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - who looks a name up may be an account that can not read our Python
import errno
import socket
import struct
from dataclasses import replace
from typing import Any, Callable, Dict

from . import packets
from .shot import Shot, family_of, label, preparing

SOL_UDP, UDP_SEGMENT = 17, 103
IP_TRANSPARENT, IPV6_TRANSPARENT, IPV6_FREEBIND = 19, 75, 78
IPV6_HOPOPTS, IPV6_DSTOPTS = 54, 59
LOOSE_SOURCE_ROUTE = 131
MSG_FASTOPEN = 0x20000000
ANSWER = b"world"

Answer = Dict[str, Any]


def opened(shot: Shot, kind: int, protocol: int = 0) -> socket.socket:
    """A socket with what the shot asks of it, bound to the shot's mark."""
    with preparing():
        return _opened(shot, kind, protocol)


def _opened(shot: Shot, kind: int, protocol: int) -> socket.socket:
    made = socket.socket(shot.family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for name in shot.options.get("set", ()):
        SETTINGS[name](made, shot)
    with contextlib.suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if protocol not in (socket.IPPROTO_ICMP, socket.IPPROTO_ICMPV6):
        foreign = "transparent" in shot.options.get("set", ())
        source = packets.FOREIGN[6 if made.family == socket.AF_INET6 else 4] if foreign else ""
        made.bind((source, shot.options.get("sport", shot.mark)))
    made.settimeout(shot.wait)
    return made


def to(shot: Shot) -> Any:
    """Where to, as Python's sockets want it: multicast and link-local addresses need an interface."""
    port = shot.port if "sport" not in shot.options else shot.options.get("dport", shot.mark)
    if shot.family == socket.AF_INET:
        return (shot.address, port)
    scoped = shot.address.startswith("f") and shot.address[1] in "ef"
    return (shot.address, port, 0, socket.if_nametoindex(shot.interface) if scoped and shot.interface else 0)


def _device(made: socket.socket, shot: Shot) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, shot.interface.encode() + b"\0")


def _mark(made: socket.socket, _shot: Shot) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 0x6867)


def _priority(made: socket.socket, _shot: Shot) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 6)


def _no_route(made: socket.socket, _shot: Shot) -> None:
    made.setsockopt(socket.SOL_SOCKET, socket.SO_DONTROUTE, 1)


def _transparent(made: socket.socket, _shot: Shot) -> None:
    if made.family == socket.AF_INET:
        made.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    else:
        made.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)


def _source_route(made: socket.socket, shot: Shot) -> None:
    """By way of the very address, and on to it."""
    route = struct.pack("!BBB", LOOSE_SOURCE_ROUTE, 7, 4) + socket.inet_aton(shot.address) + b"\0"
    made.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, route)


def _record_route(made: socket.socket, _shot: Shot) -> None:
    made.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, struct.pack("!BBB", 7, 7, 4) + bytes(5))


def _hop_by_hop(made: socket.socket, _shot: Shot) -> None:
    made.setsockopt(socket.IPPROTO_IPV6, IPV6_HOPOPTS, struct.pack("!BBBBI", 0, 0, 1, 4, 0))


def _destination(made: socket.socket, _shot: Shot) -> None:
    made.setsockopt(socket.IPPROTO_IPV6, IPV6_DSTOPTS, struct.pack("!BBBBI", 0, 0, 1, 4, 0))


SETTINGS: Dict[str, Callable[[socket.socket, Shot], None]] = {
    "device": _device,
    "mark": _mark,
    "priority": _priority,
    "no route": _no_route,
    "transparent": _transparent,
    "source route": _source_route,
    "record route": _record_route,
    "hop-by-hop": _hop_by_hop,
    "destination": _destination,
}


def tcp(shot: Shot) -> Answer:
    with opened(shot, socket.SOCK_STREAM, shot.options.get("protocol", 0)) as caller:
        if shot.options.get("fast_open"):
            with contextlib.suppress(BlockingIOError):
                caller.sendto(shot.token, MSG_FASTOPEN, to(shot))
            return {}
        if shot.wait:
            caller.connect(to(shot))
            return {"works": caller.recv(16) == ANSWER}
        # A SYN goes its way while we go ours: what netfilter drops of it is no error of connect(2)'s.
        refused = caller.connect_ex(to(shot))
        if refused not in (0, errno.EINPROGRESS):
            raise OSError(refused, "")
        return {}


def name(shot: Shot) -> Answer:
    """As any program does: ask for the address, and connect to it."""
    return tcp(replace(shot, address=socket.gethostbyname(shot.address)))


def question(shot: Shot) -> Answer:
    """Ask whom /etc/resolv.conf names for a name that holds the mark (RFC 1035), and wait for the answer: who passes
    questions on has done so by then."""
    name = "{}.{}".format(label(shot.mark), shot.options["below"])
    labels = b"".join(bytes([len(part)]) + part.encode("ascii") for part in name.split("."))
    asked = struct.pack("!HHHHHH", shot.mark, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", 1, 1)
    server = _nameserver() or shot.address
    with socket.socket(family_of(server), socket.SOCK_DGRAM) as caller:
        caller.settimeout(shot.wait)
        caller.sendto(asked, (server, shot.port))
        with contextlib.suppress(socket.timeout, ConnectionError):
            caller.recv(2048)
    return {}


def _nameserver() -> str:
    with open("/etc/resolv.conf", encoding="ascii", errors="replace", newline="\n") as file:
        rows = [line.split() for line in file]
    return next((row[1] for row in rows if len(row) > 1 and row[0] == "nameserver"), "")


def udp(shot: Shot) -> Answer:
    with opened(shot, socket.SOCK_DGRAM, shot.options.get("protocol", 0)) as caller:
        body = shot.token
        if shot.options.get("segments"):
            caller.setsockopt(SOL_UDP, UDP_SEGMENT, len(body))
            body *= shot.options["segments"]
        body += bytes(shot.options.get("more", 0))
        if shot.options.get("connected") or shot.wait:
            caller.connect(to(shot))
            caller.send(body)
        else:
            caller.sendto(body, to(shot))
        return {"works": bool(shot.wait) and caller.recv(2048) == body}


def ping(shot: Shot) -> Answer:
    """An echo request without root: what net.ipv4.ping_group_range allows."""
    v4 = shot.family == socket.AF_INET
    protocol = socket.IPPROTO_ICMP if v4 else socket.IPPROTO_ICMPV6
    with opened(shot, socket.SOCK_DGRAM, protocol) as caller:
        caller.sendto(bytes([8 if v4 else 128, 0, 0, 0, 0, 0, 0, 1]) + shot.token, to(shot))
    return {}


def loopback(shot: Shot) -> Answer:
    with socket.socket() as listener, socket.socket() as caller:
        listener.bind((shot.address, 0))
        listener.listen()
        caller.settimeout(shot.wait)
        caller.connect(listener.getsockname())
        return {"works": True}
