"""Where the kernel would send what the policy sanctions."""

from __future__ import annotations

import errno
import socket
import struct
from typing import Any, Dict, Optional

from .. import netlink
from ..facts import gather
from . import Request

NETLINK_ROUTE = 0
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTA_DST, RTA_OIF, RTA_PREFSRC, RTA_UID, RTA_IP_PROTO, RTA_DPORT = 1, 4, 7, 25, 27, 29
RTMSG, KIND, RTN_LOCAL = 12, 7, 2
"""Bytes of struct rtmsg (rtnetlink(7)), that of its type, and the type of what is this host's own."""
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


def routes(request: Request) -> Any:
    """What the kernel answers for each [address, protocol, port, account] of `to`: "" where there is a route, else the
    error's name; and the numbers of the accounts, None for one that is not there."""
    accounts = sorted({who for *_, who in request["to"] if who})
    known = gather("uid:" + account for account in accounts)
    uids = {account: int(known["uid:" + account]) if "uid:" + account in known else None for account in accounts}
    found = [route(to, protocol, port, uids.get(who))["error"] for to, protocol, port, who in request["to"]]
    return {"uids": uids, "found": found}


def route(address: str, protocol: str, port: int, uid: Optional[int]) -> Dict[str, Any]:
    """One RTM_GETROUTE, as this protocol, port and account would ask: the `error`'s name, else the `device`, the
    `source` address ("" where the kernel says none), and whether the address is `ours`."""
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
    if kind != RTM_NEWROUTE:
        code = netlink.error_in(answer)
        return {"error": errno.errorcode.get(code, str(code)), "device": "", "source": "", "ours": False}
    said = dict(netlink.attributes(answer[RTMSG:]))
    source = socket.inet_ntop(family, said[RTA_PREFSRC]) if RTA_PREFSRC in said else ""
    device = socket.if_indextoname(struct.unpack("=I", said[RTA_OIF])[0]) if RTA_OIF in said else ""
    return {"error": "", "device": device, "source": source, "ours": answer[KIND] == RTN_LOCAL}
