"""Open sockets, and the processes that hold them."""

from __future__ import annotations

import base64
import errno
import os
import re
import socket
import struct
from typing import Any, Dict, Iterator, List, Set, Tuple

from .. import window
from ..facts import account_of
from ..kinds import frames, process
from ..resource import HostError
from ..sock_diag import UID_AT, sock_diag
from . import Request
from .files import text

ACCEPTS = 0x10000  # __SO_ACCEPTCON in linux/net.h
FIRST = 1


def listeners(_request: Request) -> Any:
    """/proc/net/tcp{,6} and udp{,6} as they are."""
    return {table: text({"path": "/proc/net/" + table}) for table in ("tcp", "tcp6", "udp", "udp6")}


def sockets(_request: Request) -> Any:
    """Every TCP and UDP socket as sock_diag(7) answers, in base64; which process holds which inode, and the names
    of the accounts, which only this host knows; who has a packet socket; and the SSH connection that asks."""
    dumps = {}
    accounts: Dict[str, str] = {}
    for family in (socket.AF_INET, socket.AF_INET6):
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            raw = sock_diag(family, protocol)
            for body in raw:
                uid = struct.unpack_from("=I", body, UID_AT)[0]
                accounts[str(uid)] = account_of(uid)
            dumps["{}/{}".format(family, protocol)] = [base64.b64encode(part).decode("ascii") for part in raw]
    holders = _holders()
    return {
        "dumps": dumps,
        "holders": holders,
        "accounts": accounts,
        "packet": _named(_packet(), holders),
        "raw": _named(_raw(), holders),
        "session": window.connection(),
    }


def packet_sockets(_request: Request) -> Any:
    """Who may send frames: the sockets of /proc/net/packet and those of AF_XDP, with their processes, and whether our
    table holds what the former send. Nothing holds the latter."""
    packet, holders = _packet(), _holders()
    return {
        "packet": _named(packet, holders),
        "xdp": [holders[inode] for inode in sorted(_mapped_sockets() - set(packet)) if inode in holders],
        "held": frames.is_in_force(),
    }


def _packet() -> Dict[str, str]:
    """{inode: protocol, as four hexadecimal digits}"""
    rows = (text({"path": "/proc/net/packet"}) or "").splitlines()[1:]  # a kernel without them has no such file
    return {row.split()[8]: row.split()[3] for row in rows}


def _raw() -> Dict[str, str]:
    """{inode: protocol, as four hexadecimal digits}, of raw sockets: they stand in the place of a port."""
    found = {}
    for table in ("raw", "raw6"):
        for row in (text({"path": "/proc/net/" + table}) or "").splitlines()[1:]:
            words = row.split()
            found[words[9]] = words[1].rpartition(":")[2]
    return found


def _named(sockets: Dict[str, str], holders: Dict[str, Any]) -> List[Any]:
    """[pid, command, protocol] of each."""
    unseen = [0, "a process that is not seen from here"]
    return [[*holders.get(inode, unseen), protocol] for inode, protocol in sorted(sockets.items())]


AF_XDP = 44


def _mapped_sockets() -> Set[str]:
    """Sockets that a process has mapped into its memory, which AF_XDP can't do without; nobody lists them by name
    where the kernel has no xsk_diag. TCP's are told apart by their tables."""
    try:
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
    except OSError as error:
        if error.errno == errno.EAFNOSUPPORT:
            return set()
    found: Set[str] = set()
    for pid in process.pids():
        try:
            with open("/proc/{}/maps".format(pid), encoding="utf-8", errors="replace") as file:
                found.update(re.findall(r" socket:\[(\d+)\]$", file.read(), re.MULTILINE))
        except PermissionError:
            raise HostError("/proc/{}/maps: only root may read it".format(pid)) from None
        except OSError:
            continue
    if not found:
        return found
    tcp = "".join(text({"path": "/proc/net/" + table}) or "" for table in ("tcp", "tcp6"))
    return found - {line.split()[9] for line in tcp.splitlines() if len(line.split()) > 9}


def unix_listeners(request: Request) -> Any:
    """{path: [account, …]} of the processes that answer on sockets of these `paths`: those that they act as. systemd,
    which may hold a socket for a service, answers on none."""
    found: Dict[str, List[str]] = {}
    for path, pid in answering(request["paths"]):
        uid = re.search(r"^Uid:\s+\d+\s+(\d+)", text({"path": "/proc/{}/status".format(pid)}) or "", re.MULTILINE)
        if uid:
            found.setdefault(path, []).append(account_of(int(uid.group(1))))
    return {path: sorted(set(accounts)) for path, accounts in found.items()}


def answering(paths: List[str]) -> Iterator[Tuple[str, int]]:
    """Each process that has a Unix socket at one of these paths open that takes connections, but for systemd."""
    wanted = {os.path.realpath(path): path for path in reversed(paths)}
    inodes = {}
    for row in (text({"path": "/proc/net/unix"}) or "").splitlines()[1:]:
        words = row.split(None, 7)  # Num RefCount Protocol Flags Type St Inode Path
        path = wanted.get(os.path.realpath(words[7])) if len(words) == 8 and words[7].startswith("/") else None
        if path and int(words[3], 16) & ACCEPTS:
            inodes[words[6]] = path
    for pid, inode in _held() if inodes else ():
        if inode in inodes and pid != FIRST:
            yield inodes[inode], pid


def _holders() -> Dict[str, Any]:
    """{socket inode: [pid, command]}"""
    found: Dict[str, Any] = {}
    for pid, inode in _held():
        if inode not in found:
            found[inode] = [pid, process.command(pid)]
    return found


def _held() -> Iterator[Tuple[int, str]]:
    """The inode of every socket with each process that has it, from /proc/PID/fd; those that we may not see are left
    out."""
    for pid in process.pids():
        folder = "/proc/{}/fd".format(pid)
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            try:
                target = os.readlink(os.path.join(folder, name))
            except OSError:
                continue
            if target.startswith("socket:["):
                yield pid, target[8:-1]
