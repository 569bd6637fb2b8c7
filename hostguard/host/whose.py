"""Whose a packet is: the socket that sent it as sock_diag(7) finds it, and the process that holds the socket.

Asked while the packet is on its way. A process that has ended by then is not found, and only its account is known.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import proc
from .facts import account_of
from .nflog import Packet
from .sock_diag import INODE_AT, UID_AT, sock_diag

NUMBER = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}
LISTENING = 1 << 10  # TCPF_LISTEN in include/net/tcp_states.h
RECENT = 16

Process = Dict[str, Any]
"""`pid`, `command`, `exe` and `unit` of a process, each only where it is known."""


class Whose:
    """Finds processes; remembers the last ones, which are the most likely to send again."""

    def __init__(self) -> None:
        self._recent: List[int] = []
        self._accounts: Dict[int, str] = {}

    def of(self, packet: Packet) -> Tuple[str, Process, bool]:
        """The account, empty where no process sent it; what is known of the process; and whether a socket has it: of
        a packet without an account that is one of the kernel's own (WireGuard's, say), since a process's that is
        closing is none any more."""
        uid, inode = self._socket(packet)
        if not packet.answer:
            uid = packet.uid  # a socket of the kernel's is root's by sock_diag, and nobody's by the rules
        elif packet.uid is not None:
            uid = packet.uid
        return self.account(uid), self._process(inode, uid) if inode and uid is not None else {}, bool(inode)

    def account(self, uid: Optional[int]) -> str:
        if uid is None:
            return ""
        if uid not in self._accounts:
            self._accounts[uid] = account_of(uid)
        return self._accounts[uid]

    def _socket(self, packet: Packet) -> Tuple[Optional[int], int]:
        """The account and the inode of the socket: (None, 0) where there is none, or of what has no ports."""
        protocol = NUMBER.get(packet.protocol)
        if protocol is None or packet.hook != "output":
            return None, 0
        family = socket.AF_INET6 if ":" in packet.source else socket.AF_INET
        for body in _exact(family, protocol, packet):
            uid, inode = struct.unpack_from("=I", body, UID_AT)[0], struct.unpack_from("=I", body, INODE_AT)[0]
            if inode:
                return uid, inode
        if packet.answer and packet.protocol == "tcp":
            # Until its handshake is done a connection has no socket of its own but the listener's.
            for each in (family, socket.AF_INET6):
                for body in sock_diag(each, protocol, LISTENING):
                    if struct.unpack_from(">H", body, 4)[0] == packet.source_port:
                        return struct.unpack_from("=I", body, UID_AT)[0], struct.unpack_from("=I", body, INODE_AT)[0]
        return None, 0

    def _process(self, inode: int, uid: Optional[int]) -> Process:
        link = "socket:[{}]".format(inode)
        for pid in self._likely(uid):
            if link in proc.leads_to(pid):
                self._recent = [pid, *(other for other in self._recent if other != pid)][:RECENT]
                return describe(pid)
        return {}

    def _likely(self, uid: Optional[int]) -> Iterator[int]:
        yield from self._recent
        others: List[int] = []
        for pid in reversed(list(proc.pids())):
            try:
                same = os.stat("/proc/{}".format(pid)).st_uid == uid
            except OSError:
                continue
            if same:
                yield pid
            else:
                others.append(pid)
        yield from others


def _exact(family: int, protocol: int, packet: Packet) -> List[bytes]:
    here = (packet.source_port, socket.inet_pton(family, packet.source))
    there = (packet.port, socket.inet_pton(family, packet.destination))
    # The kernel looks UDP up the other way round, "for historical reasons" (net/ipv4/udp_diag.c).
    one, other = (there, here) if protocol == socket.IPPROTO_UDP else (here, there)
    try:
        return sock_diag(family, protocol, only=(one, other))
    except OSError as error:
        if error.errno == errno.ENOENT:
            return []
        raise


def describe(pid: int) -> Process:
    found: Process = {"pid": pid, "command": proc.command(pid, unknown="")}
    try:
        found["exe"] = os.readlink(proc.folder(pid) + "/exe")
        found["unit"] = _unit(pid)
    except OSError:
        pass  # it ends while we look
    return {key: value for key, value in found.items() if value}


def _unit(pid: int) -> str:
    """The unit that the process runs in, as systemd names its cgroups; empty where it is in none."""
    with open("/proc/{}/cgroup".format(pid), encoding="utf-8", errors="replace", newline="\n") as file:
        lines = [line.rstrip("\n").split(":", 2) for line in file]
    for _, controllers, path in lines:
        if controllers in ("", "name=systemd") and unit_of(path):
            return unit_of(path)
    return ""


def unit_of(cgroup: str) -> str:
    """The unit that a cgroup is of. What is below a user's own manager (user@1000.service) has names of his."""
    units = [part for part in cgroup.split("/") if part.endswith((".service", ".scope"))]
    return next((unit for unit in units if unit.startswith("user@")), units[-1] if units else "")
