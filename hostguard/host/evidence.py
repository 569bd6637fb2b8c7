"""What the host says, as it says it, for the controls that judge and have no fix.

The controller reads it. Values that may be secrets (environments, files of credentials) never leave the host: of
those only names, modes and owners do.
"""

from __future__ import annotations

import base64
import ctypes
import errno
import glob
import os
import re
import socket
import stat
import struct
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

from . import firewalld, iptables, netlink, nft, store, window
from .facts import account_of, gather, has_ipv6
from .kinds import frames, process, unit
from .program import find, run
from .resource import HostError, why
from .sock_diag import UID_AT, sock_diag

Request = Dict[str, Any]
"""`collect` names a collector below; the other keys are its arguments."""


def collect(requests: Dict[str, Request]) -> Dict[str, Dict[str, Any]]:
    """{name: {"said": …}} or {name: {"unreadable": why}}, for each request."""
    answers = {}
    for name, request in requests.items():
        try:
            answers[name] = {"said": COLLECTORS[request["collect"]](request)}
        except Exception as error:  # odd text is no reason to hear nothing of the rest
            answers[name] = {"unreadable": why(error, name)}
    return answers


def _text(request: Request) -> Any:
    """A file's text; None where there is no such file."""
    try:
        with open(request["path"], encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


def _texts(request: Request) -> Any:
    """{path: text} of the files that a pattern (glob) of `patterns` stands for."""
    paths = sorted({path for pattern in request["patterns"] for path in glob.glob(pattern) if os.path.isfile(path)})
    return {path: _text({"path": path}) for path in paths}


def _processes(request: Request) -> Any:
    """{name: [arguments, …]} of the processes with these `names` that see the network as we do: a container's own
    resolver is none of the host's."""
    found: Dict[str, List[List[str]]] = {}
    for pid in pids():
        name = process.command(pid)
        if name not in request["names"]:
            continue
        try:
            if os.readlink("/proc/{}/ns/net".format(pid)) != os.readlink("/proc/self/ns/net"):
                continue
            with open("/proc/{}/cmdline".format(pid), encoding="utf-8", errors="replace") as file:
                found.setdefault(name, []).append(file.read().rstrip("\0").split("\0"))
        except FileNotFoundError:
            continue  # it ended while we looked
    return found


def _uname(_request: Request) -> Any:
    return list(os.uname())


def _cpus(_request: Request) -> Any:
    return os.sysconf("SC_NPROCESSORS_ONLN")


def _openssl(_request: Request) -> Any:
    """The binary's own words, the library's own words, and the processes that map a library which is gone from
    disk: they run on with the old one until they are restarted."""
    binary = run(["openssl", "version"]).stdout.strip() if find("openssl") else None
    library = None
    for candidate in ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so.1.0.0", "libcrypto.so.10"):
        try:
            version = ctypes.CDLL(candidate).OpenSSL_version
        except (OSError, AttributeError):
            continue
        version.restype = ctypes.c_char_p
        library = version(0).decode("ascii", "replace")
        break
    return {"binary": binary, "library": library}


def _stale_libraries(request: Request) -> Any:
    """Processes that map a file whose name holds one of `names` and that was deleted since."""
    found = []
    for pid in pids():
        try:
            with open("/proc/{}/maps".format(pid), encoding="utf-8", errors="replace") as file:
                paths = {
                    line.split(None, 5)[5].strip() for line in file if any(name in line for name in request["names"])
                }
        except PermissionError:
            raise HostError("/proc/{}/maps: only root may read it".format(pid)) from None
        except (OSError, IndexError):
            continue
        for path in sorted(p for p in paths if p.endswith("(deleted)")):
            found.append({"pid": pid, "command": process.command(pid), "path": path})
    return found


def pids() -> List[int]:
    return sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())


def _adjtimex(_request: Request) -> Any:
    """The kernel's clock, whatever daemon keeps it: return code, status bits, largest and estimated error in µs.

    struct timex (linux/timex.h) starts with `modes` (int, padded to a long), offset, freq, maxerror, esterror,
    and `status` (int); modes 0 only reads. 512 bytes are more than any architecture's struct.
    """
    buffer = ctypes.create_string_buffer(512)
    code = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if code < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _, _, _, maximum, estimated, status = struct.unpack_from("@llllli", buffer.raw)
    return {"code": code, "status": status, "maxerror": maximum, "esterror": estimated}


def _swap(_request: Request) -> Any:
    """/proc/swaps, and where each of its devices ends: "encrypted", "memory" (zram), or "" where it is a disk's."""
    with open("/proc/swaps", encoding="utf-8") as file:
        text = file.read()
    names = [line.split()[0] for line in text.splitlines()[1:]]
    return {"swaps": text, "kinds": {name: _ends_in(os.path.basename(os.path.realpath(name))) for name in names}}


def _ends_in(device: str, blocks: str = "/sys/class/block") -> str:
    """dm-crypt on the way down settles it, also below LVM, as installers set it up; every way down must have it."""
    folder = os.path.join(blocks, device)
    uuid = _text({"path": folder + "/dm/uuid"}) or ""
    if uuid.startswith("CRYPT-"):
        return "encrypted"
    if device.startswith("zram"):
        # A zram with a backing device writes its pages to that one.
        backing = (_text({"path": folder + "/backing_dev"}) or "none").strip()
        return "memory" if backing == "none" else ""
    below = os.listdir(folder + "/slaves") if os.path.isdir(folder + "/slaves") else []
    ends = {_ends_in(each, blocks) for each in below}
    return ends.pop() if len(ends) == 1 else ""


def _other_backend(_request: Request) -> Any:
    """`iptables-save` of the backend that is not in force, by family; "" where the kernel holds nothing of it.

    The kernel's own list of legacy tables is read first: iptables-legacy-save would load the modules, and an
    audit changes nothing.
    """
    answer: Dict[str, Any] = {}
    for family, command in iptables.COMMAND.items():
        in_force = iptables.backend(family)
        if in_force is None:
            raise HostError("{} is not installed on this host".format(command))
        other = "legacy" if in_force == "nft" else "nft"
        if other == "legacy" and not iptables.legacy_tables(family):
            answer[family] = {"backend": other, "rules": ""}
            continue
        program = "{}-{}-save".format(command, other)
        if find(program) is None:
            # The controller may have a library for it. No tool for nft: then nothing of nft was ever written.
            tables = iptables.legacy_tables(family)
            answer[family] = {"backend": other, "rules": None if other == "legacy" else "", "tables": tables}
            continue
        answer[family] = {"backend": other, "rules": iptables.saved(program)}
    return answer


def _units(request: Request) -> Any:
    """Which of the `units` run, or will at the next boot."""
    if not unit.systemd_runs():
        raise HostError("systemd does not run here")
    return [name for name, shown in unit.show(request["units"], []).items() if unit.runs_or_will(shown)]


def _chains(_request: Request) -> Any:
    """The names of all chains that are not built in, of any table of the backend in force."""
    found = {
        chain
        for family in iptables.COMMAND
        for text in iptables.tables(family).values()
        for chain, policy in iptables.parse(text)["policies"].items()
        if policy == "-"
    }
    return sorted(found)


def _rules(_request: Request) -> Any:
    """All rules of the backend in force, by family and table, and those of nft's own in tables of other names.

    nft tells a table of iptables in words that iptables-save alone reads; ours is netdev's.
    """
    parsed: Dict[str, Any] = {"ipv4": None, "ipv6": None}  # None: a kernel without it
    for family in parsed if has_ipv6() else ["ipv4"]:
        if iptables.backend(family) is None:
            raise HostError("{} is not installed on this host".format(iptables.COMMAND[family]))
        parsed[family] = {name: iptables.parse(text) for name, text in iptables.tables(family).items()}
    return {"iptables": parsed, "nft": nft.of_others()}


NETLINK_ROUTE = 0
RTM_NEWROUTE, RTM_GETROUTE = 24, 26
RTA_DST, RTA_UID, RTA_IP_PROTO, RTA_DPORT = 1, 25, 27, 29
PROTOCOLS = {"tcp": socket.IPPROTO_TCP, "udp": socket.IPPROTO_UDP}


def _routes(request: Request) -> Any:
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


DENIED = "hostguard deny: "
OUR_CHAIN = re.compile(r"^\[(\d+):\d+\] -A HOSTGUARD-OUTPUT -j DROP$", re.MULTILINE)
MOST_LINES = 1000


def _denied(_request: Request) -> Any:
    """Packets that our chain has dropped since its rules were loaded, by family (None: there is no such rule), and how
    many lines of the journal, the last of them, name each account."""
    packets: Dict[str, Optional[int]] = {}
    for family, command in iptables.COMMAND.items():
        found = OUR_CHAIN.search(run([command + "-save", "-c", "-t", "filter"], check=False).stdout)
        packets[family] = int(found.group(1)) if found else None
    accounts: Dict[str, int] = {}
    for uid in re.findall(r"^{}.* UID=(\d+)".format(DENIED), _journal(), re.MULTILINE):
        name = account_of(int(uid))
        accounts[name] = accounts.get(name, 0) + 1
    return {"packets": packets, "accounts": accounts}


def _journal() -> str:
    """The kernel's lines since the last apply; "" where there is no journal, or none that one may read."""
    record = store.current()
    if record is None or find("journalctl") is None:
        return ""
    since = record["created"].replace("T", " ").replace("Z", " UTC")
    argv = ["journalctl", "-k", "-q", "-o", "cat", "--no-pager", "--since", since, "--grep", "^" + DENIED, "-n"]
    try:
        return run([*argv, str(MOST_LINES)], check=False, timeout=20).stdout
    except HostError:
        return ""  # it hangs, or says too much: who was denied is for the log, that something was is counted


def _firewalld(_request: Request) -> Any:
    """Why firewalld, were it to run, would flush our rules."""
    return firewalld.flushes()


def _tree(request: Request) -> Any:
    """Mode and owner of everything below a folder, and of the folder; never a content."""
    top = request["path"]
    found = [_described(top, top)] if os.path.isdir(top) else []
    for folder, folders, files in os.walk(top, onerror=_refuse):
        for name in sorted(folders + files):
            try:
                found.append(_described(os.path.join(folder, name), top))
            except FileNotFoundError:
                continue  # a secret is rotated while we look
    return found


def _refuse(error: OSError) -> None:
    """os.walk leaves out what it may not read, and an audit must not."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _described(path: str, top: str) -> Dict[str, Any]:
    status = os.lstat(path)
    link = stat.S_ISLNK(status.st_mode)
    target = os.path.realpath(path)
    return {
        "path": path,
        "link": link,
        "leads_out": target if link and not target.startswith(top + "/") else "",
        "folder": stat.S_ISDIR(status.st_mode),
        "mode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


ENVIRONMENT = ["Environment", "EnvironmentFiles", "MainPID"]
NAMES = re.compile(r'(?:^|\s)"?([A-Za-z_][A-Za-z0-9_]*)=')
EVERY_SERVICE = "systemd itself"


def _unit_environment(_request: Request) -> Any:
    """The names of the variables that services get, by unit: from it, from its EnvironmentFile=, from systemd itself,
    and those that the running one got when it was started. Their values stay here."""
    if not unit.systemd_runs():
        raise HostError("systemd does not run here")
    found = {EVERY_SERVICE: NAMES.findall(unit.show([""], ["Environment"])[""].get("Environment", ""))}
    for block in unit.services(ENVIRONMENT):
        names = set(NAMES.findall(block.get("Environment", "")))
        for path in re.findall(r"(\S+) \(ignore_errors=", block.get("EnvironmentFiles", "")):
            names |= {"{} ({})".format(name, path) for name in _variables(path)}
        got = _got(int(block.get("MainPID") or 0)) - names - set(found[EVERY_SERVICE])
        names |= {"{} (process {})".format(name, block["MainPID"]) for name in got}
        if names:
            found[block["Id"]] = sorted(names)
    return found


def _got(pid: int) -> Set[str]:
    """The names of the variables that a process was started with."""
    try:
        with open("/proc/{}/environ".format(pid), "rb") as file:
            return {entry.partition(b"=")[0].decode("utf-8", "replace") for entry in file.read().split(b"\0") if entry}
    except (FileNotFoundError, ProcessLookupError):
        return set()  # none runs, or it ended while we looked


def _variables(pattern: str) -> List[str]:
    found: List[str] = []
    for path in sorted(glob.glob(pattern)):
        with open(path, encoding="utf-8", errors="replace") as file:
            found += re.findall(r"^\s*([A-Za-z_][A-Za-z0-9_]*)=", file.read(), re.MULTILINE)
    return found


def _listeners(_request: Request) -> Any:
    """/proc/net/tcp{,6} and udp{,6} as they are."""
    return {table: _text({"path": "/proc/net/" + table}) for table in ("tcp", "tcp6", "udp", "udp6")}


def _sockets(_request: Request) -> Any:
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


def _packet_sockets(_request: Request) -> Any:
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
    rows = (_text({"path": "/proc/net/packet"}) or "").splitlines()[1:]  # a kernel without them has no such file
    return {row.split()[8]: row.split()[3] for row in rows}


def _raw() -> Dict[str, str]:
    """{inode: protocol, as four hexadecimal digits}, of raw sockets: they stand in the place of a port."""
    found = {}
    for table in ("raw", "raw6"):
        for row in (_text({"path": "/proc/net/" + table}) or "").splitlines()[1:]:
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
    for pid in pids():
        try:
            with open("/proc/{}/maps".format(pid), encoding="utf-8", errors="replace") as file:
                found.update(re.findall(r" socket:\[(\d+)\]$", file.read(), re.MULTILINE))
        except PermissionError:
            raise HostError("/proc/{}/maps: only root may read it".format(pid)) from None
        except OSError:
            continue
    if not found:
        return found
    tcp = "".join(_text({"path": "/proc/net/" + table}) or "" for table in ("tcp", "tcp6"))
    return found - {line.split()[9] for line in tcp.splitlines() if len(line.split()) > 9}


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
    for pid in pids():
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


ACCEPTS = 0x10000  # __SO_ACCEPTCON in linux/net.h
FIRST = 1


def _unix_listeners(request: Request) -> Any:
    """{path: [account, …]} of the processes that answer on sockets of these `paths`: those that they act as. systemd,
    which may hold a socket for a service, answers on none."""
    wanted = {os.path.realpath(path): path for path in reversed(request["paths"])}
    inodes = {}
    for row in (_text({"path": "/proc/net/unix"}) or "").splitlines()[1:]:
        words = row.split(None, 7)  # Num RefCount Protocol Flags Type St Inode Path
        path = wanted.get(os.path.realpath(words[7])) if len(words) == 8 and words[7].startswith("/") else None
        if path and int(words[3], 16) & ACCEPTS:
            inodes[words[6]] = path
    found: Dict[str, List[str]] = {}
    for pid, inode in _held() if inodes else ():
        if inode in inodes and pid != FIRST:
            uid = re.search(r"^Uid:\s+\d+\s+(\d+)", _text({"path": "/proc/{}/status".format(pid)}) or "", re.MULTILINE)
            if uid:
                found.setdefault(inodes[inode], []).append(account_of(int(uid.group(1))))
    return {path: sorted(set(accounts)) for path, accounts in found.items()}


COLLECTORS: Dict[str, Callable[[Request], Any]] = {
    "text": _text,
    "texts": _texts,
    "processes": _processes,
    "uname": _uname,
    "cpus": _cpus,
    "openssl": _openssl,
    "stale-libraries": _stale_libraries,
    "adjtimex": _adjtimex,
    "swap": _swap,
    "other-backend": _other_backend,
    "units": _units,
    "chains": _chains,
    "rules": _rules,
    "routes": _routes,
    "denied": _denied,
    "firewalld": _firewalld,
    "tree": _tree,
    "unit-environment": _unit_environment,
    "listeners": _listeners,
    "sockets": _sockets,
    "packet-sockets": _packet_sockets,
    "unix-listeners": _unix_listeners,
}
