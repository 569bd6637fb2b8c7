"""Where the kernel would send what the policy sanctions."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any, Optional

from .. import netlink
from ..facts import gather
from . import Request

NETLINK_ROUTE = 0
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTA_DST, RTA_UID, RTA_IP_PROTO, RTA_DPORT = 1, 25, 27, 29
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


def routes(request: Request) -> Any:
    """What the kernel answers for each [address, protocol, port, account] of `to`: "" where there is a route, else the
    error's name; and the numbers of the accounts, None for one that is not there."""
    accounts = sorted({who for *_, who in request["to"] if who})
    known = gather("uid:" + account for account in accounts)
    uids = {account: int(known["uid:" + account]) if "uid:" + account in known else None for account in accounts}
    found = [_route(to, protocol, port, uids.get(who)) for to, protocol, port, who in request["to"]]
    return {"uids": uids, "found": found}


def _route(address: str, protocol: str, port: int, uid: Optional[int]) -> str:
    """One RTM_GETROUTE (rtnetlink(7); struct rtmsg has 12 bytes), as this protocol, port and account would ask."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    raw = socket.inet_pton(family, address)
    body = struct.pack("=8BI", family, 8 * len(raw), 0, 0, 0, 0, 0, 0, 0) + netlink.attribute(RTA_DST, raw)
    body += netlink.attribute(RTA_IP_PROTO, struct.pack("=B", PROTOCOLS[protocol]))
    body += netlink.attribute(RTA_DPORT, struct.pack(">H", port))
    if uid is not None:
        body += netlink.attribute(RTA_UID, struct.pack("=I", uid))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as channel:
        channel.settimeout(10)
        channel.send(netlink.message(RTM_GETROUTE, netlink.REQUEST, body))
        kind, answer = next(netlink.messages(channel.recv(1 << 16)))
    if kind == RTM_NEWROUTE:
        return ""
    code = netlink.error_in(answer)
    return errno.errorcode.get(code, str(code))
