"""The packets that our rules hand to the kernel's nfnetlink_log, as they come. Its numbers are those of
linux/netfilter/nfnetlink_log.h."""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import List, NamedTuple, Optional, Tuple

from . import netlink
from .netlink import attribute
from .program import find, run
from .resource import HostError, NotRoot

GROUP = 4747
ANSWER = "answer"
"""What ends the prefix of a packet that answers somebody who connected in."""
ENDS = {"HOSTGUARD-OUTPUT": "enforce", "HOSTGUARD-OBSERVE-OUTPUT": "observe"}

NETLINK_NETFILTER = 12
PACKET, CONFIG = 0x400, 0x401
CMD, MODE, BUFFER, THRESHOLD, FLAGS = 1, 2, 3, 5, 6
BIND, COPY_PACKET, NUMBERED = 1, 2, 1
HEADER, PAYLOAD, PREFIX, UID, SEQUENCE = 1, 9, 10, 11, 12
SO_RCVBUFFORCE = 33
NOT_ROOT = "listening to the firewall needs root"
HEADERS = 96
"""Bytes of a packet that are asked for: its headers."""
HOOKS = {2: "forward", 3: "output"}
PROTOCOLS = {1: "icmp", 2: "igmp", 6: "tcp", 17: "udp", 47: "gre", 50: "esp", 58: "icmp", 132: "sctp", 136: "udplite"}
WITH_PORTS = (6, 17, 132, 136)
EXTENSIONS = (0, 43, 60)  # hop-by-hop, routing, destination options
FRAGMENT = 44
SYN, RST = 0x02, 0x04


class Packet(NamedTuple):
    """One packet at the end of one of our chains. Of what has no ports `port` is the ICMP type, or 0; `flags` are
    TCP's. `uid` is None where no process sent it."""

    verdict: str
    hook: str
    answer: bool
    protocol: str
    source: str
    source_port: int
    destination: str
    port: int
    flags: int
    uid: Optional[int]


def mode() -> str:
    """Whether this host enforces or observes. Raises HostError where it does neither, or can't tell of it."""
    if find("iptables") is None:
        raise HostError("iptables is not installed on this host")
    if os.geteuid() != 0:
        raise NotRoot(NOT_ROOT)
    rules = {kept: run(["iptables", "-S", chain], check=False).stdout for chain, kept in ENDS.items()}
    for kept, said in rules.items():
        if "--nflog-group {}".format(GROUP) in said:
            return kept
    if any(rules.values()):
        raise HostError("the rules here are of an older hostguard and tell nobody of packets: `hostguard apply` first")
    raise HostError("this host has no rules of hostguard's: `hostguard apply` a policy with a section `egress` first")


class Listener:
    """Hears of every packet, until it is closed. Only one may listen at a time."""

    def __init__(self) -> None:
        self.channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.lost = 0
        """Packets that came faster than they were read."""
        self._next: Optional[int] = None
        self._full = False
        try:
            self._listen()
        except BaseException:
            self.channel.close()
            raise

    def _listen(self) -> None:
        try:
            self.channel.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        except PermissionError:
            self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.channel.bind((0, 0))
        try:
            self._configure(attribute(CMD, struct.pack("=B", BIND)))
        except PermissionError:
            raise _refused() from None
        # Whose it is can be asked while the process still has its socket: so each is sent at once, and alone.
        self._configure(
            attribute(MODE, struct.pack(">IBB", HEADERS, COPY_PACKET, 0))
            + attribute(BUFFER, struct.pack(">I", 512))
            + attribute(THRESHOLD, struct.pack(">I", 1))
            + attribute(FLAGS, struct.pack(">H", NUMBERED))
        )
        self.channel.setblocking(False)

    def _configure(self, attributes: bytes) -> None:
        body = struct.pack(">BBH", socket.AF_UNSPEC, 0, GROUP) + attributes
        self.channel.send(netlink.message(CONFIG, netlink.REQUEST | netlink.ACK, body))
        while True:
            for kind, answer in netlink.messages(self.channel.recv(1 << 16)):
                if kind == netlink.ERROR:
                    netlink.refuse(answer, "nfnetlink_log")
                    return

    def take_lost(self) -> int:
        """How many were lost since the last call; at least one where nothing has come since that would tell."""
        lost, self.lost = self.lost or int(self._full), 0
        self._full = False
        return lost

    def fileno(self) -> int:
        return self.channel.fileno()

    def read(self, most: int) -> List[Packet]:
        """What has come, `most` messages at the most; empty where nothing waits."""
        found: List[Packet] = []
        for _ in range(most):
            try:
                data = self.channel.recv(1 << 16)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                # Some were lost: the numbers of those that follow tell how many.
                self._full = True
                continue
            for kind, body in netlink.messages(data):
                packet = self._packet(body) if kind == PACKET else None
                if packet:
                    found.append(packet)
        return found

    def _packet(self, body: bytes) -> Optional[Packet]:
        attributes = dict(netlink.attributes(body[4:]))
        if SEQUENCE in attributes:
            number = struct.unpack(">I", attributes[SEQUENCE])[0]
            if self._next is not None:
                self.lost += (number - self._next) & 0xFFFFFFFF
            self._next = (number + 1) & 0xFFFFFFFF
        hook = attributes[HEADER][2]
        uid = struct.unpack(">I", attributes[UID])[0] if UID in attributes else None
        prefix = attributes.get(PREFIX, b"").rstrip(b"\0").decode("ascii", "replace")
        return parse(prefix, HOOKS.get(hook, "other"), attributes.get(PAYLOAD, b""), uid)

    def close(self) -> None:
        self.channel.close()


def _refused() -> HostError:
    try:
        with open("/proc/net/netfilter/nfnetlink_log", encoding="ascii", newline="\n") as file:
            taken = [line.split()[1] for line in file if line.split()[:1] == [str(GROUP)]]
    except OSError:
        taken = []
    if taken:
        return HostError("another `hostguard watch` or `learn` listens here already (process {})".format(taken[0]))
    return NotRoot(NOT_ROOT)


def parse(prefix: str, hook: str, data: bytes, uid: Optional[int]) -> Optional[Packet]:
    """A packet's beginning; None for what is no IP packet."""
    ends = _ends(data)
    if ends is None:
        return None
    source, destination, number, at = ends
    source_port = port = flags = 0
    if at is not None and number in WITH_PORTS and len(data) >= at + 4:
        source_port, port = struct.unpack_from(">HH", data, at)
        flags = data[at + 13] if number == socket.IPPROTO_TCP and len(data) > at + 13 else 0
    elif at is not None and number in (1, 58) and len(data) > at:
        port = data[at]
    verdict = "deny" if prefix.startswith("hostguard deny") else "observe"
    protocol = PROTOCOLS.get(number, str(number))
    return Packet(verdict, hook, prefix.endswith(ANSWER), protocol, source, source_port, destination, port, flags, uid)


def _ends(data: bytes) -> Optional[Tuple[str, str, int, Optional[int]]]:
    """Source, destination, protocol, and where its header starts: None in a fragment that is not the first."""
    version = data[0] >> 4 if data else 0
    if version == 4 and len(data) >= 20:
        later = struct.unpack_from(">H", data, 6)[0] & 0x1FFF
        at = None if later else (data[0] & 0xF) * 4
        addresses = [socket.inet_ntop(socket.AF_INET, data[begin : begin + 4]) for begin in (12, 16)]
        return addresses[0], addresses[1], data[9], at
    if version == 6 and len(data) >= 40:
        number, at = data[6], 40
        while number in (*EXTENSIONS, FRAGMENT) and len(data) >= at + 8:
            if number == FRAGMENT and struct.unpack_from(">H", data, at + 2)[0] & 0xFFF8:
                return (*_addresses6(data), data[at], None)
            number, at = data[at], at + (8 if number == FRAGMENT else (data[at + 1] + 1) * 8)
        return (*_addresses6(data), number, at)
    return None


def _addresses6(data: bytes) -> Tuple[str, str]:
    return socket.inet_ntop(socket.AF_INET6, data[8:24]), socket.inet_ntop(socket.AF_INET6, data[24:40])
