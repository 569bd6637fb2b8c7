"""Open sockets, and the processes that hold them."""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import re
import socket
import struct
from typing import Any, Dict, Iterator, List, NamedTuple, Set, Tuple

from .. import proc, window
from ..children import aside
from ..facts import account_of
from ..kinds import frames
from ..resource import HostError
from ..sock_diag import UID_AT, sock_diag, unix_sockets
from ..whose import describe
from . import Request
from .files import text

ACCEPTS = 0x10000  # __SO_ACCEPTCON in linux/net.h
FIRST = 1
UNIX_SOCKET = re.compile(
    r"^[0-9a-f]+: [0-9A-F]+ [0-9A-F]+ ([0-9A-F]+) [0-9A-F]+ [0-9A-F]+ +([0-9]+) (/.*)$", re.MULTILINE
)
"""Flags, inode and path of one in /proc/net/unix. The kernel escapes nothing of a path (net/unix/af_unix.c): a line end
in one may add a row that is none, and takes no other away."""


def listeners(_request: Request) -> Any:
    """/proc/net/tcp{,6} and udp{,6} as they are."""
    return {table: text({"path": "/proc/net/" + table}) for table in ("tcp", "tcp6", "udp", "udp6")}


def sockets(request: Request) -> Any:
    """All sockets, and the SSH connection that asks."""
    return dict(_sockets(request), session=window.connection_if_told())


@aside
def _sockets(_request: Request) -> Any:
    """Every TCP and UDP socket as sock_diag(7) answers, in base64; which process holds which inode, and the names
    of the accounts, which only this host knows; and who has a packet socket."""
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
    }


@aside
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
    for pid in proc.pids():
        try:
            maps = proc.folder(pid) + "/maps"
            with open(maps, encoding="utf-8", errors="replace", newline="\n") as file:
                found.update(re.findall(r" socket:\[(\d+)\]$", file.read(), re.MULTILINE))
        except PermissionError:
            raise HostError("/proc/{}/maps: only root may read it".format(pid)) from None
        except OSError:
            continue
    if not found:
        return found
    tcp = "".join(text({"path": "/proc/net/" + table}) or "" for table in ("tcp", "tcp6"))
    return found - {line.split()[9] for line in tcp.splitlines() if len(line.split()) > 9}


LISTEN, SYN_RECEIVED = 10, 3
STATES = {1: "established", 2: "syn-sent", 6: "time-wait", 8: "close-wait"}
"""By include/net/tcp_states.h; all others are on their way from one to the next."""
QUEUED_AT = 56  # idiag_rqueue, and behind it idiag_wqueue, within struct inet_diag_msg
MOST_GROUPS = 1000


class _Tcp(NamedTuple):
    state: int
    source: str
    source_port: int
    destination: str
    port: int
    uid: int
    inode: str
    queued: int
    backlog: int


@aside
def connections(_request: Request) -> Any:
    """TCP connections that this host began, by where to, whose and how far: `groups` of {"from", "to", "port", "state",
    "account", "process", "count"}, those that nobody answers and the largest first; `process` is one of them, and
    `left_out` how many groups more there are."""
    found = list(_tcp(~(1 << LISTEN) & 0xFFFFFFFF))
    mine = {each.source_port for each in _tcp(1 << LISTEN)}
    groups: Dict[Tuple[Any, ...], List[Any]] = {}
    for each in found:
        if each.source_port not in mine:
            state = STATES.get(each.state, "closing")
            group = groups.setdefault((each.source, each.destination, each.port, state, each.uid), [0, "0"])
            group[0] += 1
            group[1] = max(group[1], each.inode)  # an orphan has 0
    ordered = sorted(groups.items(), key=lambda item: (item[0][3] != STATES[2], -item[1][0]))
    holders = _holders()
    told = []
    for (source, destination, port, state, uid), (count, inode) in ordered[:MOST_GROUPS]:
        account = "" if state == STATES[6] else account_of(uid)  # a closed one is nobody's any more
        told.append({"from": source, "to": destination, "port": port, "state": state, "account": account,
                     "process": _called(holders.get(inode)), "count": count})  # fmt: skip
    return {"groups": told, "left_out": max(0, len(ordered) - MOST_GROUPS)}


@aside
def queues(_request: Request) -> Any:
    """TCP listeners, each with how many callers have not been accepted (`waiting`) of how many may (`backlog`), and how
    many have not finished their handshake (`half_open`); those with the most first."""
    half_open: Dict[int, int] = {}
    for each in _tcp(1 << SYN_RECEIVED):
        half_open[each.source_port] = half_open.get(each.source_port, 0) + 1
    holders = _holders()
    told: List[Dict[str, Any]] = []
    for each in _tcp(1 << LISTEN):
        holder = holders.get(each.inode)
        unit = describe(holder[0]).get("unit", "") if holder else ""
        told.append({"address": each.source, "port": each.source_port, "waiting": each.queued,
                     "backlog": each.backlog, "half_open": half_open.get(each.source_port, 0),
                     "account": account_of(each.uid), "process": _called(holder), "unit": unit})  # fmt: skip
    told.sort(key=lambda listener: -listener["waiting"] - listener["half_open"])
    return told[:MOST_GROUPS]


def _called(holder: Any) -> str:
    return "{1} ({0})".format(*holder) if holder else ""


def _tcp(states: int) -> Iterator[_Tcp]:
    for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
        for body in sock_diag(family, socket.IPPROTO_TCP, states):
            source_port, port = struct.unpack_from(">HH", body, 4)
            source, destination = (_address(family, body[at : at + size]) for at in (8, 24))
            uid, inode = struct.unpack_from("=II", body, UID_AT)
            queued, backlog = struct.unpack_from("=II", body, QUEUED_AT)
            yield _Tcp(body[1], source, source_port, destination, port, uid, str(inode), queued, backlog)


def _address(family: int, packed: bytes) -> str:
    """As packets carry it: a mapped address of a socket for both is IPv4."""
    if packed[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(family, packed)


@aside
def unix_listeners(request: Request) -> Any:
    """{path: [account, …]} of the processes that answer on sockets of these `paths`: those that they act as. systemd,
    which may hold a socket for a service, answers on none."""
    found: Dict[str, List[str]] = {}
    for path, pid in answering(request["paths"]):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended while we looked
            acts_as = proc.status("/proc/{}".format(pid))["Uid"].split()[1]
            found.setdefault(path, []).append(account_of(int(acts_as)))
    return {path: sorted(set(accounts)) for path, accounts in found.items()}


def answering(paths: List[str]) -> Iterator[Tuple[str, int]]:
    """Each process that has a Unix socket at one of these paths open that takes connections, but for systemd."""
    # Theirs are compared as they are: an account may put links in the way of them that lead on without end.
    wanted = {way: path for path in reversed(paths) for way in _ways(path)}
    inodes: Dict[str, Set[str]] = {}
    for number, at in _unix_listeners():
        if at in wanted:
            inodes.setdefault(str(number), set()).add(wanted[at])
    for pid, inode in _held() if inodes else ():
        for path in inodes.get(inode, ()) if pid != FIRST else ():
            yield path, pid


def _unix_listeners() -> List[Tuple[int, str]]:
    with contextlib.suppress(OSError):  # a kernel without unix_diag, or one that lets us not ask it
        return unix_sockets()
    # This table of them can be given rows that are none, and loses none.
    rows = UNIX_SOCKET.findall(text({"path": "/proc/net/unix"}) or "")
    return [(int(inode), path) for flags, inode, path in rows if int(flags, 16) & ACCEPTS]


def _ways(path: str) -> List[str]:
    """The names that a program may have bound its socket by."""
    real = os.path.realpath(path)
    return [path, real, *("/var" + way for way in (path, real) if way.startswith("/run/"))]


def _holders() -> Dict[str, Any]:
    """{socket inode: [pid, command]}"""
    found: Dict[str, Any] = {}
    for pid, inode in _held():
        if inode not in found:
            found[inode] = [pid, proc.command(pid)]
    return found


def _held() -> Iterator[Tuple[int, str]]:
    """The inode of every socket with each process that has it, from /proc/PID/fd; those that we may not see are left
    out."""
    for pid in proc.pids():
        for target in proc.leads_to(pid):
            if target.startswith("socket:["):
                yield pid, target[8:-1]
