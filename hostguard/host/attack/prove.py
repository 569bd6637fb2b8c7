"""Shots on a live host, one small packet each, and what became of each: judged by the host's own kernel alone.

Held is what was seen held: the kernel refused the call, or the rule that drops counted it and no device sent it. A
tap on every device sees what leaves, below all rules and queues. What shows neither is not proven.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import select
import socket
import struct
from typing import Any, Dict, List, NamedTuple, Optional

from ..program import find, run
from ..resource import HostError, NotRoot
from . import wire
from .fire import Shooter
from .shot import Shot, shows, signs

HELD, OUT, UNKNOWN, ABSENT = "held", "out", "unknown", "absent"
REFUSED = {"EPERM", "ENOBUFS"}
"""What OUTPUT's DROP and, to a packet socket, the egress hook's are to who sends."""
CLOSED = {"EPERM", "EACCES"}
"""Of a socket that the account may not even open."""
HERE = ("local", "unix", "bind", "admin", "http")
SHUT = {"EHOSTUNREACH", "EACCES", "EPERM"}
"""What a REJECT with icmp-admin-prohibited, a folder that is another's and a port that needs a capability say."""
OPEN = {"ECONNREFUSED", "EADDRINUSE"}
SAYS_NO = {400, 403, 404, 426, 431, 501}
FROM_BEHIND = {502, 503, 504}
"""What Envoy says itself (RFC 9110, 15): that it hands nothing on, and that it found nobody to hand it to."""
SAVE = {socket.AF_INET: "iptables-save", socket.AF_INET6: "ip6tables-save"}
CHAIN = "HOSTGUARD-OUTPUT"
ETH_P_ALL = 0x0003
CONTROL_SECONDS = 2.0
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_ATTACH_FILTER, LONGEST = 26, 256
# Classic BPF: the first bytes of what leaves, nothing of what comes in.
LEAVING = (
    (0x30, 0, 0, 0xFFFFF004),  # load the packet's type (SKF_AD_PKTTYPE)
    (0x15, 0, 1, socket.PACKET_OUTGOING),
    (0x06, 0, 0, LONGEST),
    (0x06, 0, 0, 0),
)
_TEXT = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in LEAVING))
_AT = ctypes.addressof(_TEXT)


class Route(NamedTuple):
    """How the kernel would send to an address."""

    device: str
    source: str
    hardware: str
    next_hardware: str


def prove(request: Dict[str, Any]) -> Dict[str, Any]:
    """{"results": [{"status", "evidence"}]} in the order of request["shots"], each {"account", "shot"}."""
    if os.geteuid() != 0:
        raise NotRoot("only root can become the accounts that try, and see what leaves")
    with Tap() as tap:
        prover = _Prover(tap)
        try:
            first = [prover.shoot(each["account"], Shot(**each["shot"])) for each in request["shots"]]
        finally:
            prover.end()
        # Whatever waited in a queue has left by now.
        working = {device: tap.sees_control(device, way) for device, way in prover.devices.items()}
        return {"results": [prover.judge(each, working) for each in first]}


class _Shot(NamedTuple):
    shot: Shot
    device: str
    answer: Dict[str, Any]
    dropped: bool


class _Prover:
    def __init__(self, tap: "Tap") -> None:
        self.tap = tap
        self.ways: Dict[str, Route] = {}
        self.devices: Dict[str, Route] = {}
        self.shooters: Dict[int, Shooter] = {}

    def end(self) -> None:
        for shooter in self.shooters.values():
            shooter.end()

    def shoot(self, account: str, shot: Shot) -> _Shot:
        try:
            who = pwd.getpwnam(account)
        except KeyError:
            return _Shot(shot, "", {"refused": "no account {}".format(account)}, False)
        if shot.way in HERE:
            return _Shot(shot, "", self._shooter(who).fire(shot), False)
        try:
            way = self._way(shot.address)
        except HostError as error:
            return _Shot(shot, "", {"refused": str(error), "absent": True}, False)
        self.devices.setdefault(way.device, way)
        plain = dict(shot.plain(), source=way.source, interface=way.device)
        plain.update(hardware=way.hardware, next_hardware=way.next_hardware)
        # A connection's first packet is dropped without a word to who connects: the rule's own count tells.
        silent = shot.way == "tcp"
        before = dropped(shot.family) if silent else None
        answer = self._shooter(who).fire(Shot(**plain))
        self.tap.drain()
        after = dropped(shot.family) if silent else None
        return _Shot(shot, way.device, answer, before is not None and after is not None and after > before)

    def _shooter(self, who: pwd.struct_passwd) -> Shooter:
        if who.pw_uid not in self.shooters:
            groups = os.getgrouplist(who.pw_name, who.pw_gid)
            self.shooters[who.pw_uid] = Shooter(who.pw_uid, [who.pw_gid, *groups])
        return self.shooters[who.pw_uid]

    def judge(self, fired: _Shot, working: Dict[str, bool]) -> Dict[str, str]:
        shot, answer = fired.shot, fired.answer
        refused = answer.get("refused", "")
        if shot.way in HERE:
            return _of_this_host(shot.way, answer)
        looked_for = signs(shot.mark, shot.options.get("sport", shot.port))
        seen = [device for device, frame in self.tap.frames if shows(frame, looked_for, [])]
        if seen:
            return {"status": OUT, "evidence": "seen leaving {}".format(seen[0])}
        unprepared = bool(answer.get("unprepared"))
        if answer.get("absent") or (unprepared and refused in CLOSED):
            return {"status": ABSENT, "evidence": "this host has no such way: {}".format(refused)}
        if refused in REFUSED and not unprepared:
            return {"status": HELD, "evidence": "the kernel refused it: {}".format(refused)}
        if refused:
            return {"status": UNKNOWN, "evidence": refused}
        if not working.get(fired.device) or self.tap.lost():
            return {"status": UNKNOWN, "evidence": "what leaves {} could not be seen".format(fired.device)}
        if fired.dropped:
            return {"status": HELD, "evidence": "{} dropped it, and it was not seen to leave".format(CHAIN)}
        return {"status": UNKNOWN, "evidence": "not seen to leave, and nothing says that it was held"}

    def _way(self, address: str) -> Route:
        if address not in self.ways:
            self.ways[address] = way_to(address)
        return self.ways[address]


def _of_this_host(way: str, answer: Dict[str, Any]) -> Dict[str, str]:
    """What became of who wanted in to this host itself."""
    refused = answer.get("refused", "")
    if answer.get("unprepared"):
        return {"status": ABSENT, "evidence": "this host has no such way: {}".format(refused)}
    if way == "http":
        return _answered(answer)
    if way == "admin" and not refused:
        return _found(answer)
    if not refused:
        return {"status": OUT, "evidence": "it was let in"}
    if refused in SHUT:
        return {"status": HELD, "evidence": "the kernel refused it: {}".format(refused)}
    if refused in OPEN:
        return {"status": OUT, "evidence": "nothing refused it, but nobody was there: {}".format(refused)}
    return {"status": UNKNOWN, "evidence": refused}


def _answered(answer: Dict[str, Any]) -> Dict[str, str]:
    """Only what the gateway says to have refused itself is known to have reached nobody."""
    status = answer.get("status", 0)
    if not status:
        return {"status": UNKNOWN, "evidence": answer.get("refused") or "no answer came"}
    if answer["own"] and status in SAYS_NO:
        return {"status": HELD, "evidence": "the gateway itself refused it: {}".format(status)}
    if status < min(SAYS_NO) or (answer["own"] and status in FROM_BEHIND):
        return {"status": OUT, "evidence": "the gateway took it: {}".format(status)}
    return {"status": UNKNOWN, "evidence": "{}, and who says so is not known".format(status)}


def _found(answer: Dict[str, Any]) -> Dict[str, str]:
    if answer["works"]:
        return {"status": OUT, "evidence": "the gateway lets anybody in at {}".format(answer["where"])}
    if not answer["runs"]:
        return {"status": UNKNOWN, "evidence": "the gateway listens nowhere: nothing of it runs"}
    return {"status": HELD, "evidence": "its account listens on no port but its doors"}


def way_to(address: str) -> Route:
    """Raises HostError where there is no way."""
    done = run(["ip", "-json", "route", "get", address], check=False)
    found = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    device = found[0].get("dev", "") if found else ""
    if not device or device == "lo" or "prefsrc" not in found[0]:
        raise HostError("no route to {}".format(address))
    links = json.loads(run(["ip", "-json", "link", "show", "dev", device]).stdout)
    hop = found[0].get("gateway", address)
    known = json.loads(run(["ip", "-json", "neigh", "show", hop, "dev", device], check=False).stdout or "[]")
    # Of a frame that is held it is all one for whom it was.
    next_hop = next((each["lladdr"] for each in known if "lladdr" in each), "02:00:00:00:00:01")
    mine = links[0].get("address", "")
    return Route(device, found[0]["prefsrc"], mine.replace(":", ""), next_hop.replace(":", ""))


def dropped(family: socket.AddressFamily) -> Optional[int]:
    """How many packets the last rules of our chain have dropped; None where there is no such chain."""
    if find(SAVE[family]) is None:
        return None
    done = run([SAVE[family], "-c", "-t", "filter"], check=False)
    marks = [line for line in done.stdout.splitlines() if "] -A {} ".format(CHAIN) in line and line.endswith("-j DROP")]
    return sum(int(line[1:].split(":")[0]) for line in marks) if marks else None


class Tap:
    """What leaves every device but loopback."""

    def __init__(self) -> None:
        self.frames: List[Any] = []
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(LEAVING), _AT))
        self._lost = 0

    def __enter__(self) -> "Tap":
        return self

    def __exit__(self, *_: Any) -> None:
        self._socket.close()

    def drain(self) -> None:
        while select.select([self._socket], [], [], 0)[0]:
            self._take()

    def _take(self) -> Any:
        frame, place = self._socket.recvfrom(LONGEST)
        if place[2] == socket.PACKET_OUTGOING and place[0] != "lo":
            self.frames.append((place[0], frame))
        return place[0], frame

    def lost(self) -> bool:
        """Whether the kernel had no room for some frame. Asking sets its count back."""
        said = struct.unpack("=II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._lost += said[1]
        return bool(self._lost)

    def sees_control(self, device: str, way: Route) -> bool:
        """Whether an ARP request, which may leave, is seen to leave."""
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
            out.bind((device, 0))
            own = own_address(device)
            if not way.hardware or own is None:
                return False
            asked = wire.who_has(bytes.fromhex(way.hardware), own, own)
            try:
                out.send(asked)
            except OSError:
                return False
        while select.select([self._socket], [], [], CONTROL_SECONDS)[0]:
            if self._take() == (device, asked):
                return True
        return False


def own_address(device: str) -> Optional[str]:
    """An IPv4 address of a device: one that asks for its own asks nothing of anybody (RFC 5227, an announcement)."""
    found = json.loads(run(["ip", "-json", "-4", "address", "show", "dev", device]).stdout or "[]")
    addresses = [each["local"] for link in found for each in link.get("addr_info", ())]
    return addresses[0] if addresses else None
