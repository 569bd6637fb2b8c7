"""What enforcing would cut: the open connections and the listening services of a host that its policy does not let
through (pure; the sockets are the host's own sock_diag answers, decoded by pyroute2)."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hostguard.host import netlink
from hostguard.host.sock_diag import BY_FAMILY
from hostguard.policy.destinations import destinations, leaving, named_reaches
from hostguard.policy.grammar import Address, Network
from hostguard.policy.model import Egress
from hostguard.visible import visible

ASK: dict[str, Any] = {"sockets": {"collect": "sockets"}}
"""The evidence that this module reads."""

LISTEN, TIME_WAIT, CLOSE, SYN_SENT = 10, 6, 7, 2  # include/net/tcp_states.h; CLOSE is any unconnected UDP socket
CLOSING = (4, 5, 9, 11)  # FIN_WAIT1, FIN_WAIT2, LAST_ACK, CLOSING
DUMPS = {"2/6": "tcp", "2/17": "udp", "10/6": "tcp", "10/17": "udp"}
"""What a host tells of sockets, by family and protocol in Linux's numbers: all of it, or it is no answer."""
DHCP_CLIENT = {68, 546}
LET_OUT = {"0806", "8809", "888e", "88cc"}
"""ARP, LACP, 802.1X, LLDP: the rules cut no program that is there for one of these."""
EPHEMERAL = 32768


@dataclass(frozen=True)
class Socket:
    """One socket: `state` as the kernel numbers it, `process` empty where we may not see whose it is."""

    protocol: str
    state: int
    source: Address
    source_port: int
    destination: Address
    destination_port: int
    account: str
    process: str
    orphaned: bool = False
    """Its program has closed it, and the kernel says the last of it."""

    @property
    def listens(self) -> bool:
        return self.state == LISTEN or (self.protocol == "udp" and self.state == CLOSE)


@dataclass(frozen=True)
class Cut:
    """One thing that enforcing would cut, and what the policy would have to say to keep it."""

    process: str
    account: str
    what: str
    advice: str
    listens: bool = False
    sends_frames: bool = False


def sockets(said: Mapping[str, Any]) -> Iterator[Socket]:
    """The sockets in an answer of the `sockets` collector."""
    from pyroute2.netlink.diag import inet_diag_msg

    for key, protocol in DUMPS.items():
        for encoded in said["dumps"][key]:
            body = base64.b64decode(encoded)
            # pyroute2 reads a whole message: give back the header that the host took off.
            message = inet_diag_msg(netlink.message(BY_FAMILY, 0, body))
            message.decode()
            inode, uid = str(message["idiag_inode"]), str(message["idiag_uid"])
            pid, command = said["holders"].get(inode, (0, ""))
            command = visible(command)
            yield Socket(
                protocol,
                message["idiag_state"],
                native(message["idiag_src"]),
                message["idiag_sport"],
                native(message["idiag_dst"]),
                message["idiag_dport"],
                visible(said["accounts"].get(uid, uid)),
                f"{command} ({pid})" if pid else "",
                inode == "0" and message["idiag_state"] in CLOSING,
            )


def native(text: str) -> Address:
    """An address as packets carry it: ::ffff:a.b.c.d of a dual-stack socket is IPv4."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def cuts(egress: Egress, said: Mapping[str, Any]) -> list[Cut]:
    """Everything that enforcing this egress policy would cut, worst first: connections, then services."""
    found = list(sockets(said))
    here = {socket.source for socket in found}
    listening = {(socket.protocol, socket.source_port) for socket in found if socket.listens}
    may_leave, may_ask = matchers(egress)
    named: dict[tuple[str | None, str, int], list[str]] = {}
    for to in named_reaches(egress):
        named.setdefault((to.account, to.protocol, to.port), []).append(to.host)
    connections: dict[Cut, None] = {}
    services: dict[Cut, None] = {}
    for socket in found:
        inside = socket.source.is_loopback or socket.destination.is_loopback or socket.destination in here
        if inside and not (socket.listens and socket.source.is_unspecified):
            continue
        if socket.listens:
            services.update(dict.fromkeys(_service(socket, egress)))
        elif socket.state != TIME_WAIT and not socket.orphaned and not socket.destination.is_unspecified:
            port = (socket.protocol, socket.destination_port)
            hosts = [host for account in (None, socket.account) for host in named.get((account, *port), [])]
            connections.update(dict.fromkeys(_connection(socket, listening, may_leave, may_ask, hosts)))
    return [*connections, *services, *_senders(egress, said["packet"]), *_raw(said["raw"])]


# What raw sockets are mostly there for (IANA's protocol numbers), and what loses nothing: ICMP is ping's and routers'.
PROTOCOLS = {2: "IGMP", 4: "IP in IP", 41: "IPv6 in IPv4", 46: "RSVP", 47: "GRE", 50: "ESP", 51: "AH", 88: "EIGRP",
             89: "OSPF", 103: "PIM", 112: "VRRP", 115: "L2TP", 132: "SCTP", 255: "any"}  # fmt: skip
OF_ICMP = (1, 58)


def _raw(raw: Iterable[Sequence[Any]]) -> Iterator[Cut]:
    """Other protocols than TCP and UDP: two gateways that no longer hear of each other are both masters."""
    for pid, command, protocol in dict.fromkeys(map(tuple, raw)):
        number = int(protocol, 16)
        if number not in OF_ICMP:
            name = f"{visible(command)} ({pid})" if pid else visible(command)
            what = f"sends protocol {number} ({PROTOCOLS.get(number, 'another')}) by a raw socket"
            advice = "no key of a policy: it sanctions TCP and UDP alone, so keep this host out of `egress`, or observe"
            yield Cut(name, "", what, advice, sends_frames=True)


def session_cut(egress: Egress, session: str) -> str:
    """Why the SSH connection that asks would be cut ("peer port host port", as sshd has it); "" where it would not be,
    or where nobody came in by SSH."""
    words = session.split()
    if len(words) != 4 or egress.mode != "enforce":
        return ""
    try:
        peer, port = native(words[0].partition("%")[0]), int(words[3])
    except ValueError:
        return ""
    for way in egress.inbound.values():
        if way.protocol == "tcp" and port in way.ports and any(peer in network for network in way.from_):
            return ""
    return f"egress.inbound names no network that holds {peer} for port {port}, where this SSH connection comes from"


def _senders(egress: Egress, packet: Iterable[Sequence[Any]]) -> Iterator[Cut]:
    if egress.frames == "hold":
        held = ((visible(command), pid) for pid, command, protocol in packet if protocol not in LET_OUT)
        for command, pid in dict.fromkeys(held):
            what = "has a packet socket: frames that it sends are held, what it hears is not"
            named = f"{command} ({pid})" if pid else command
            yield Cut(named, "", what, "egress.frames: allow, if it must send", sends_frames=True)


def _connection(
    socket: Socket,
    listening: set[tuple[str, int]],
    may_leave: Callable[[Socket], bool],
    may_ask: Callable[[Socket], bool],
    hosts: list[str],
) -> Iterator[Cut]:
    if (socket.protocol, socket.source_port) in listening:
        if not may_ask(socket):
            what = f"answers {_end(socket.destination)} on {socket.protocol} {socket.source_port}"
            advice = f"egress.inbound: from {_end(socket.destination)}, port {socket.source_port}"
            yield Cut(socket.process, socket.account, what, advice)
    elif not may_leave(socket):
        verb = "tries to connect to" if socket.state == SYN_SENT else "connected to"
        what = f"{verb} {_end(socket.destination)} {socket.protocol} {socket.destination_port}"
        advice = f"egress.providers or services: {_end(socket.destination)}, port {socket.destination_port}"
        if hosts:  # only the resolvers know, and only when it is applied
            advice = f"nothing, if the resolvers say that {' or '.join(hosts)} leads there; else {advice}"
        yield Cut(socket.process, socket.account, what, advice)


def _service(socket: Socket, egress: Egress) -> Iterator[Cut]:
    what = f"listens on {socket.protocol} {socket.source_port}"
    if socket.protocol == "udp" and socket.source_port in DHCP_CLIENT:
        server = 67 if socket.source_port == 68 else 547
        advice = f"egress.services: the DHCP server, protocol udp, port {server}, or leases are lost at renewal"
        renews = f"renews its lease by DHCP (udp {socket.source_port})"
        yield Cut(socket.process, socket.account, renews, advice, listens=True)
        return
    if socket.protocol == "udp" and socket.source_port >= EPHEMERAL:
        return  # a client's own socket, as any resolver or time client has
    answered = any(
        socket.source_port in way.ports and way.protocol == socket.protocol for way in egress.inbound.values()
    )
    if not answered:
        advice = f"egress.inbound: port {socket.source_port}, from those who may use it"
        yield Cut(socket.process, socket.account, what, advice, listens=True)


def _end(address: Address) -> str:
    return str(address)


def matchers(egress: Egress) -> tuple[Callable[[Socket], bool], Callable[[Socket], bool]]:
    """Whether a socket's packets may leave, and whether its peer may be answered."""
    may_leave_to: dict[tuple[str | None, str, int], Networks] = {}
    for to in destinations(leaving(egress)):
        may_leave_to.setdefault((to.account, to.protocol, to.port), Networks()).add(to.network)
    asking: dict[tuple[str, int], Networks] = {}
    for way in egress.inbound.values():
        for port in way.ports:
            for network in way.from_:
                asking.setdefault((way.protocol, port), Networks()).add(network)

    def may_leave(socket: Socket) -> bool:
        keys = ((account, socket.protocol, socket.destination_port) for account in (None, socket.account))
        return any(key in may_leave_to and may_leave_to[key].hold(socket.destination) for key in keys)

    def may_ask(socket: Socket) -> bool:
        key = (socket.protocol, socket.source_port)
        return key in asking and asking[key].hold(socket.destination)

    return may_leave, may_ask


class Networks:
    """Networks by their version and length, so that to ask for an address takes a look a length and not a network: a
    host may have 10,000 connections and 100,000 networks that they may go to."""

    def __init__(self) -> None:
        self.firsts: dict[tuple[int, int], set[int]] = {}

    def add(self, network: Network) -> None:
        hosts = network.max_prefixlen - network.prefixlen
        self.firsts.setdefault((network.version, hosts), set()).add(int(network.network_address) >> hosts)

    def hold(self, address: Address) -> bool:
        return any(
            version == address.version and int(address) >> hosts in firsts
            for (version, hosts), firsts in self.firsts.items()
        )
