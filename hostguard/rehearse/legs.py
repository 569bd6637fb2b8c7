"""The namespaces behind the host and beside it: containers, and what root makes of its own with CAP_NET_ADMIN."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from hostguard.host.attack import packets
from hostguard.host.attack.fire import fire
from hostguard.host.attack.shot import Shot
from hostguard.host.program import run
from hostguard.host.resource import HostError
from hostguard.rehearse import links
from hostguard.rehearse.outside import Outside, questions, tell

OUT, INSIDE = "host0", "eth0"
BEHIND = {"routed": 1, "nat": 2, "tun": 3, "bridged": 4, "vxlan": 5, "loopback": 6}
"""The links of the host's own that have one, by their number."""
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
BESIDE: dict[str, dict[str, Any]] = {
    "macvlan": {"kind": "macvlan", "macvlan_mode": "bridge"},
    "ipvlan": {"kind": "ipvlan", "ipvlan_mode": 0},
    "vlan": {"kind": "vlan", "vlan_id": 7},
}
Hardware = Callable[[str], bytes]


@dataclass
class Leg:
    """Where a shot is fired. `sources` are its own addresses."""

    fire: Callable[[Shot], dict[str, Any]]
    sources: tuple[str, str]
    end: Callable[[], Any] = dict


def nowhere(reason: str) -> Leg:
    return Leg(lambda _: {"works": False, "refused": reason, "absent": True}, ("", ""))


def tried(make: Callable[[], Leg]) -> Leg:
    """A leg, or why this kernel has none."""
    try:
        return make()
    except NetlinkError as error:
        return nowhere(f"this kernel: {os.strerror(error.code)}")
    except (OSError, HostError) as error:
        return nowhere(str(error))


def all_legs(outer: bytes, enemies: tuple[str, str], hardware: Hardware) -> dict[str, Leg]:
    """`outer`: the world's hardware address. `enemies`: of both families."""
    # mypy infers no lambda with a default; without one all would have the last name.
    made = {name: tried(lambda name=name: container(name, hardware)) for name in ("routed", "nat")}  # type: ignore[misc]
    translated = Translated(made["nat"])
    made["nat"] = Leg(translated.fire, made["nat"].sources, translated.end)
    # As above.
    made |= {name: tried(lambda name=name: beside(name, outer)) for name in BESIDE}  # type: ignore[misc]
    made["bridged"] = tried(lambda: bridged(outer))
    made["vxlan"] = tried(lambda: tunnel(enemies[0]))
    made["tun"] = tried(injected)
    made["segments"] = Leg(fire, (links.HOST, links.HOST_V6))
    return made


def namespace(sources: tuple[str, str], gateways: tuple[str, str], plug: Callable[[int], None], next_hop: bytes) -> Leg:
    """A namespace that `plug` gives an interface, with these addresses and this way out."""
    outside = Outside(inside)
    plug(outside.pid)
    outside.ask(sources=sources, gateways=gateways, hardware=next_hop.hex())
    return Leg(lambda shot: dict(outside.ask(**shot.plain())), sources, outside.ask)


def inside(line: socket.socket, settle: Callable[[], None] = lambda: None) -> None:
    """The process of such a namespace: it fires what it is told, until the line ends."""
    asked = questions(line)
    first = next(asked, None)
    if first is None:
        return  # this kernel has no such interface
    links.address(INSIDE, *first["sources"])
    links.peer(INSIDE, bytes.fromhex(first["hardware"]), *first["gateways"])
    links.default_route(*first["gateways"])
    settle()
    tell(line, hardware_of(INSIDE).hex())
    for question in asked:
        if not question:
            links.remove(INSIDE)
            tell(line, {})
            return
        answer = fire(Shot(**{**question, "interface": INSIDE}))
        links.barrier()
        tell(line, answer)


def hardware_of(interface: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as opened:
        opened.bind((interface, 0))
        return bytes(opened.getsockname()[4])


def container(name: str, hardware: Hardware) -> Leg:
    number = BEHIND[name]
    here, here6, there, there6 = links.behind(number)
    end = f"host{number}"
    outside = Outside(inside)
    links.wire(end, INSIDE, outside.pid)
    links.address(end, here, here6)
    own = outside.ask(sources=(there, there6), gateways=(here, here6), hardware=hardware(end).hex())
    links.peer(end, bytes.fromhex(own), there, there6)
    sources = (there, there6)
    return Leg(lambda shot: dict(outside.ask(**shot.plain())), sources)


def to_loopback(address: str, hardware: Hardware) -> Leg:
    """A container that has a route by way of the host to an address of its loopback, on a host that lets such packets
    in (route_localnet, as kube-proxy sets it: CVE-2020-8558)."""
    number = BEHIND["loopback"]
    here, here6, there, there6 = links.behind(number)
    end = f"host{number}"
    outside = Outside(lambda line: inside(line, lambda: links.route_to_loopback(INSIDE, address, here, there)))
    links.wire(end, INSIDE, outside.pid)
    links.address(end, here, here6)
    links.let_loopback_in(end)
    own = outside.ask(sources=(there, there6), gateways=(here, here6), hardware=hardware(end).hex())
    links.peer(end, bytes.fromhex(own), there, there6)
    return Leg(lambda shot: dict(outside.ask(**shot.plain())), (there, there6))


@dataclass
class Translated:
    """A container behind NAT. The rules come with the first shot: connection tracking comes with them, and what it
    does to fragments is no longer what an untouched host does."""

    leg: Leg
    translating: bool = False

    def fire(self, shot: Shot) -> dict[str, Any]:
        if not self.translating:
            self.translating = True
            self.translate("-A")
        return self.leg.fire(shot)

    def translate(self, verb: str) -> None:
        for command, source in zip(("iptables", "ip6tables"), self.leg.sources, strict=True):
            if links.has_ipv6() or command == "iptables":
                run([command, "-t", "nat", verb, "POSTROUTING", "-s", source, "-j", "MASQUERADE"])

    def end(self) -> None:
        if self.translating:
            self.translate("-D")


def beside(name: str, outer: bytes) -> Leg:
    """Made for each shot, and gone after it: while a macvlan is there the interface joins no bridge."""

    def plug(pid: int) -> None:
        links.leg(INSIDE, pid, OUT, **BESIDE[name])

    def once(shot: Shot) -> dict[str, Any]:
        leg = tried(lambda: namespace(links.ON_THE_LINK, (links.WORLD, links.WORLD_V6), plug, outer))
        return {**leg.fire(shot), **leg.end()}

    return Leg(once, links.ON_THE_LINK)


def bridged(outer: bytes) -> Leg:
    """The interface joins the bridge for as long as a shot takes: meanwhile the host has no network."""

    def plug(pid: int) -> None:
        with IPRoute() as route:
            route.link("add", ifname="bridge0", kind="bridge", br_forward_delay=0, br_stp_state=0)
            links.wire("host4", INSIDE, pid)
            route.link("set", index=links.index(route, "host4"), master=links.index(route, "bridge0"), state="up")
            route.link("set", index=links.index(route, "bridge0"), state="up")

    leg = namespace(links.ON_THE_LINK, (links.WORLD, links.WORLD_V6), plug, outer)

    def joined(shot: Shot) -> dict[str, Any]:
        with IPRoute() as route:
            out = links.index(route, OUT)
            route.link("set", index=out, master=links.index(route, "bridge0"))
            try:
                return leg.fire(shot)
            finally:
                route.link("set", index=out, master=0)

    return Leg(joined, leg.sources)


def tunnel(enemy: str) -> Leg:
    """What is sent inside comes out of the host's own stack, in packets to the enemy."""
    here, here6, there, there6 = links.behind(BEHIND["vxlan"])
    kind = {"kind": "vxlan", "vxlan_id": 7, "vxlan_group": enemy, "vxlan_port": 4789}
    return namespace((here, here6), (there, there6), lambda pid: links.leg(INSIDE, pid, OUT, **kind), b"\2hg\0\0\7")


def injected() -> Leg:
    """A tun device: what is written to it comes in to the host, as from a link of its own."""
    opened = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(opened, TUNSETIFF, struct.pack("=16sH22x", b"tun0", IFF_TUN | IFF_NO_PI))
    here, here6, there, there6 = links.behind(BEHIND["tun"])
    links.address("tun0", here, here6)

    def write(shot: Shot) -> dict[str, Any]:
        for packet in packets.packets(shot):
            os.write(opened, packet)
        return {"works": False}

    return Leg(write, (there, there6))


@contextlib.contextmanager
def by_way_of(enemy: str, address: str, mode: str) -> Iterator[None]:
    """A route to an address whose packets are sent to the enemy first (segment routing, RFC 8754)."""
    with IPRoute() as route:
        wanted = {
            "dst": f"{address}/128",
            "oif": links.index(route, OUT),
            "encap": {"type": "seg6", "mode": mode, "segs": enemy},
        }
        try:
            route.route("add", family=socket.AF_INET6, **wanted)
        except NetlinkError as error:
            raise OSError(errno.EOPNOTSUPP, f"this kernel: {os.strerror(error.code)}") from None
        try:
            yield
        finally:
            route.route("del", family=socket.AF_INET6, **wanted)
