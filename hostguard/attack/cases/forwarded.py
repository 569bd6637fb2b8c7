"""What passes through the host, and what hangs on its interface beside it."""

from __future__ import annotations

from functools import partial

from hostguard.attack.case import Case, Holds, Layer, Who, case
from hostguard.attack.cases.frames import FOREIGN

FORWARD = "FORWARD drops it, before other tools' rules"
NOBODY = "0.0.0.0"  # noqa: S104 - nothing is bound to it
SOURCE = "the hook on the way out of the interface: the source is not the host's"
forwarded = partial(case, layer="forwarded", held_by=FORWARD)


def _of(leg: str, name: str) -> list[Case]:
    who: Who = "container"
    return [
        forwarded(f"{leg}.tcp", who, f"{name}: TCP", "tcp", leg=leg),
        forwarded(f"{leg}.udp", who, f"{name}: UDP", "udp", leg=leg, port=9),
        forwarded(f"{leg}.fragments", who, f"{name}: UDP in fragments", "udp", leg=leg, port=9, more=3000),
        forwarded(f"{leg}.icmp", who, f"{name}: ping", "raw", leg=leg, of="icmp"),
        forwarded(f"{leg}.provider", who, f"{name}: a provider", "tcp", leg=leg, to=("provider",)),
        forwarded(f"{leg}.resolver", who, f"{name}: the resolver", "udp", leg=leg, to=("resolver",), port=53),
        forwarded(f"{leg}.next-hop", who, f"{name}: the next hop", "udp", leg=leg, to=("neighbour",), port=9),
        forwarded(f"{leg}.ack", who, f"{name}: an ACK of no connection", "header", leg=leg, of="tcp", flags="A"),
        forwarded(f"{leg}.from-ssh-port", who, f"{name}: a SYN from port 22", "header", leg=leg, of="tcp", flags="S",
                  sport=22),
        forwarded(f"{leg}.protocol", who, f"{name}: a protocol for experiments", "raw", leg=leg, protocol=253),
        forwarded(f"{leg}.gre", who, f"{name}: GRE", "raw", leg=leg, protocol=47),
    ]  # fmt: skip


def beside(leg: str, name: str, held_by: str) -> Case:
    layer: Layer = "forwarded"
    return case(f"{leg}.udp", "admin", name, "udp", held_by, layer=layer, leg=leg, port=9, holds=Holds.FRAMES)


CASES: tuple[Case, ...] = (
    *_of("routed", "a container"),
    *_of("nat", "a container behind NAT"),
    forwarded("routed.later-fragment", "container", "a container: a later fragment", "header", leg="routed", port=9,
              more=32, cut="later"),
    forwarded("routed.spoofed", "container", "a container: UDP from a foreign source", "header", leg="routed", port=9,
              spoofed=True),
    forwarded("routed.hop-by-hop", "container", "a container: UDP behind a hop-by-hop header", "header", leg="routed",
              families=(6,), port=9, headers=(0,)),
    forwarded("tun.udp", "admin", "a packet injected by a tun device", "tun", port=9),
    forwarded("tun.spoofed", "admin", "a packet injected by a tun device, as if from the host's peer", "tun", port=9,
              spoofed=True),
    beside("macvlan", "a namespace with a macvlan leg", FOREIGN),
    case("macvlan.link-local", "admin", "a namespace with a macvlan leg, from a link-local source", "header", SOURCE,
         layer="forwarded", families=(6,), leg="macvlan", port=9, source="fe80::99", holds=Holds.FRAMES),
    case("macvlan.nobody", "admin", "a namespace with a macvlan leg: a ping from nobody's address", "header", SOURCE,
         layer="forwarded", families=(6,), leg="macvlan", of="icmp", source="::", holds=Holds.FRAMES),
    case("macvlan.zero", "admin", "a namespace with a macvlan leg, from 0.0.0.0", "header", SOURCE, layer="forwarded",
         families=(4,), leg="macvlan", port=9, source=NOBODY, holds=Holds.FRAMES),
    case("macvlan.everybody", "admin", "a namespace with a macvlan leg, from a broadcast address", "frame", SOURCE,
         layer="forwarded", families=(4,), leg="macvlan", port=9, source="255.255.255.255", holds=Holds.FRAMES),
    case("macvlan.host", "admin", "a namespace with a macvlan leg, from the host's own address", "header",
         "nothing: a host's own bridges and legs send with other hardware addresses than the interface's",
         layer="forwarded", leg="macvlan", port=9, as_host=True, holds=Holds.NOTHING),
    beside("ipvlan", "a namespace with an ipvlan leg", SOURCE),
    beside("vlan", "a namespace with a VLAN leg", FOREIGN),
    beside("bridged", "a namespace on a bridge with the interface", FOREIGN),
    case("vxlan.udp", "admin", "a tunnel of the kernel's own (VXLAN)", "udp",
         "what the tunnel sends passes OUTPUT, by nobody's account", layer="forwarded", leg="vxlan", port=9),
    *(case(f"segments.{mode}", "admin", f"as the proxy, on a route by way of the enemy (segments, {mode})", "tcp",
           "the hook on the way out of the interface: the outer packet, made after OUTPUT, is a tunnel or has a "
           "routing header", layer="forwarded", families=(6,), to=("provider",), leg="segments", segments=mode,
           holds=Holds.FRAMES) for mode in ("encap", "inline")),
)  # fmt: skip
