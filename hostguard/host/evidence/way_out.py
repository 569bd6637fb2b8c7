"""What the kernel knows of one destination: where it would send it, and the sets that have it."""

from __future__ import annotations

import ipaddress
import pwd
import socket
from typing import Any, Dict, List, Optional

from .. import nft
from ..children import Call, together
from ..kinds import ipset
from ..program import find, run
from ..resource import HostError, why
from . import Request
from .questions import CODES, DEADLINE, answers
from .routes import route

OF_PORTS = ("hash:net,port", "hash:ip,port")
KNOWN = ("hash:ip", "hash:net", *OF_PORTS)
"""Types of sets whose members are told apart here."""


def way_out(request: Request) -> Any:
    """Of the `host` (a name or an address), `port` and `protocol`: {"uid" of `account`, "code" and "unasked" of the
    name's look-up, "addresses": [{"address", "error", "device", "source", "ours"}], "sets": {name: {"type",
    "elements"}}, "dormant", "egress"}.

    A name is asked of `server` ("": as the C library does it) by `asker` (None: by us). `elements` are those that hold
    each address, "" for none; None of a type that is not known here. `dormant` are tables that are switched off, and
    `egress` chains of others that see what leaves a device.
    """
    host, protocol, port = request["host"], request["protocol"], request["port"]
    uid = _uid(request["account"])
    answer = {"code": "", "unasked": "", "addresses": [host]} if _is_address(host) else _asked(request)
    addresses = sorted(set(answer["addresses"]), key=lambda each: (":" in each, each))
    ways = [dict(route(address, protocol, port, uid), address=address) for address in addresses]
    saved = ipset.parse(run(["ipset", "save"]).stdout) if find("ipset") else {}
    sets = {
        name: {"type": each["type"], "elements": [element(each, address, protocol, port) for address in addresses]}
        for name, each in saved.items()
    }
    dormant = sorted({table for of in nft.ruleset().values() for table in of["dormant"]})
    return {"uid": uid, "code": answer["code"], "unasked": answer["unasked"], "addresses": ways, "sets": sets,
            "dormant": dormant, "egress": nft.of_others_on_egress()}  # fmt: skip


def element(saved: Dict[str, Any], address: str, protocol: str, port: int) -> Optional[str]:
    """The element of a set that holds an address, the narrowest; "" for none, None where that is not known here."""
    entries = saved["entries"]
    if saved["type"] not in KNOWN or any(entry.endswith(" nomatch") for entry in entries):
        return None
    end = ",{}:{}".format(protocol, port) if saved["type"] in OF_PORTS else ""
    members = {entry.partition(" ")[0] for entry in entries}
    return next((each + end for each in _prefixes(address) if each + end in members), "")


def _prefixes(address: str) -> List[str]:
    """Every network that holds it as ipset writes them, the narrowest first."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    bits, number = 8 * len(packed), int.from_bytes(packed, "big")
    found = [socket.inet_ntop(family, packed)]
    for length in range(bits - 1, -1, -1):
        first = number >> (bits - length) << (bits - length)
        found.append("{}/{}".format(socket.inet_ntop(family, first.to_bytes(len(packed), "big")), length))
    return found


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _uid(account: Optional[str]) -> Optional[int]:
    """None for no account, and for one that is not there."""
    try:
        return pwd.getpwnam(account).pw_uid if account else None
    except KeyError:
        return None


def _asked(request: Request) -> Dict[str, Any]:
    """What a name leads to, by one question for each kind of address."""
    host, server, asker = request["host"], request["server"], request["asker"]
    nothing = {"code": "", "unasked": "", "addresses": []}  # type: Dict[str, Any]
    try:
        if server:
            said = answers({"servers": [server], "names": [host], "account": asker})[server][host]
            return dict(nothing, code=said["code"], addresses=said["addresses"])
        found = together([Call(asker, _by_library, host)], DEADLINE)[0]
        if "said" not in found:
            raise HostError(found["unreadable"])
        return dict(nothing, **found["said"])
    except HostError as error:
        return dict(nothing, unasked=why(error, host))


def _by_library(host: str) -> Dict[str, Any]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        known = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}
        code = error.errno or 0
        said = {socket.EAI_NONAME: "NXDOMAIN", socket.EAI_NODATA: CODES[0]}
        return {"code": said.get(code, known.get(code, "EAI_FAIL")), "addresses": []}
    return {"code": CODES[0], "addresses": sorted({str(each[4][0]) for each in found})}
