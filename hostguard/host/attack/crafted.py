"""Raw sockets: a transport of one's own, or the whole IP packet (CAP_NET_RAW)."""

from __future__ import annotations

import socket
from typing import Any, Dict, List

from . import packets
from .shot import Shot, preparing
from .sockets import SETTINGS, to

IP_NODEFRAG = 22
"""Of a raw socket: its fragments are not put together again before rules see them."""


def raw(shot: Shot) -> Dict[str, Any]:
    """The kernel writes the IP header."""
    options = shot.options
    v6 = shot.family == socket.AF_INET6
    of = "icmpv6" if options.get("of") == "icmp" and v6 else options.get("of", "")
    number, make = packets.TRANSPORTS.get(of, (options.get("protocol", 253), packets.bare))
    if options.get("every") == "type":
        kinds = [kind for kind in range(256) if kind not in options.get("but", ())]
        bodies = [packets.icmp(Shot(**{**shot.plain(), "options": {**options, "type": k}}), shot.source) for k in kinds]
    else:
        bodies = [make(shot, shot.source)]
    with _opened(shot, number) as caller:
        return _send(caller, shot, bodies)


def header(shot: Shot) -> Dict[str, Any]:
    """We write the IP header, of either version."""
    with _opened(shot, socket.IPPROTO_RAW) as caller:
        return _send(caller, shot, packets.packets(shot))


def _opened(shot: Shot, protocol: int) -> socket.socket:
    with preparing():
        caller = socket.socket(shot.family, socket.SOCK_RAW, protocol)
        _prepare(caller, shot)
        return caller


def _prepare(caller: socket.socket, shot: Shot) -> None:
    for name in shot.options.get("set", ()):
        SETTINGS[name](caller, shot)
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    hops = shot.options.get("hops")
    if shot.family == socket.AF_INET6 and hops:
        caller.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
        caller.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, hops)
    if shot.family == socket.AF_INET and shot.options.get("nodefrag"):
        caller.setsockopt(socket.IPPROTO_IP, IP_NODEFRAG, 1)


def _send(caller: socket.socket, shot: Shot, bodies: List[bytes]) -> Dict[str, Any]:
    """All of them, whatever becomes of the first: the answer is that of the last that was refused."""
    address = (shot.source, 0) if shot.options.get("reflected") else to(shot)
    address = (address[0], 0, *address[2:])
    refused = None
    for body in bodies:
        try:
            caller.sendto(body, address)
        except OSError as error:
            refused = error
    if refused:
        raise refused
    return {}
