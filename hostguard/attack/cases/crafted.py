"""Whole IP packets from raw sockets: flags without a connection, foreign sources, fragments, extension headers."""

from __future__ import annotations

from functools import partial
from typing import Any

from hostguard.attack.case import DEFAULT, Case, case

NO_CONNECTION = "a reply is what connection tracking knows as one"
TRACKED = "connection tracking puts fragments together before OUTPUT sees them: " + DEFAULT
NO_PORTS = "a fragment without ports is in no set: " + DEFAULT
REFLECTED = "the kernel's answers pass OUTPUT, too: " + DEFAULT
HEADERS = "a rule sees the destination, whatever stands before the transport"
HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60

ip = partial(case, way="header", layer="crafted IP")
FLAGS = (
    ("syn", "S", "SYN"), ("ack", "A", "ACK"), ("syn-ack", "SA", "SYN and ACK"), ("rst", "R", "RST"),
    ("rst-ack", "RA", "RST and ACK"), ("fin", "F", "FIN"), ("psh-ack", "PA", "PSH and ACK"), ("null", "", "no flag"),
    ("xmas", "FPU", "FIN, PSH and URG"),
)  # fmt: skip
CUTS = (
    ("first", "the first fragment of a packet"), ("later", "a later fragment alone"), ("tiny", "fragments of 8 bytes"),
    ("overlapping", "fragments that overlap"), ("backwards", "fragments in the wrong order"),
)  # fmt: skip
ROUTES = (("83070400000000", "a loose source route"), ("89070400000000", "a strict source route"),
          ("94040000", "a router alert"), ("0707040000000000", "a recorded route"))  # fmt: skip


def _flags() -> list[Case]:
    made = []
    for id, flags, name in FLAGS:
        made.append(ip(f"ip.{id}", "root", f"TCP with {name}, of no connection", of="tcp", flags=flags, harmless=True))
        made.append(ip(f"ip.{id}-ssh", "root", f"TCP with {name}, from port 22 to whoever may connect in", of="tcp",
                       flags=flags, sport=22, to=("peer",), held_by=NO_CONNECTION))  # fmt: skip
    return made


def _fragments() -> list[Case]:
    made = []
    for cut, name in CUTS:
        made.append(ip(f"ip.{cut}-fragment", "root", name, port=9, more=32, cut=cut, held_by=TRACKED))
        unassembled: Any = {"nodefrag": True, "families": (4,), "held_by": NO_PORTS}
        made.append(ip(f"ip.{cut}-fragment-kept", "root", f"{name}, kept apart (IP_NODEFRAG)", port=9, more=32, cut=cut,
                       **unassembled))  # fmt: skip
        made.append(ip(f"ip.{cut}-fragment-provider", "root", f"{name}, to a provider", more=32, cut=cut,
                       to=("provider",), held_by="a provider's set holds TCP, by account"))  # fmt: skip
    return made


CASES: tuple[Case, ...] = (
    ip("ip.udp", "root", "UDP", port=9, harmless=True),
    ip("ip.spoofed", "root", "UDP from a foreign source", port=9, spoofed=True),
    ip("ip.spoofed-tcp", "root", "a SYN from a foreign source", of="tcp", flags="S", spoofed=True),
    ip("ip.spoofed-icmp", "root", "a ping from a foreign source", of="icmp", spoofed=True),
    ip("ip.provider", "root", "data into a provider's connection that is none", of="tcp", flags="PA", to=("provider",),
       held_by="the account's set is not root's, and a raw socket is one"),
    ip("ip.dns", "root", "a question to the resolver, past its account", port=53, to=("resolver",),
       held_by="the account's set is not root's"),
    ip("ip.from-dns-port", "root", "UDP from port 53, as an answer to a question", port=9, sport=53, harmless=True,
       held_by=NO_CONNECTION),
    ip("ip.from-ssh-port", "root", "UDP from port 22", port=9, sport=22, harmless=True),
    ip("ip.near", "root", "UDP with a hop limit of 255", port=9, hops=255, families=(6,)),
    ip("ip.broadcast", "root", "UDP to everybody", port=9, to=("broadcast",), families=(4,)),
    ip("ip.link-local", "root", "UDP to a link-local address", port=9, to=("link-local",)),
    ip("ip.global-multicast", "root", "UDP to a group that routers pass on", port=9, to=("global multicast",)),
    ip("ip.reflected", "root", "UDP to the host itself as if from the enemy: an ICMP error that quotes", port=9,
       reflected=True, held_by=REFLECTED),
    ip("ip.reflected-tcp", "root", "a SYN to the host itself as if from the enemy: RST", of="tcp", flags="S",
       port=9, reflected=True, held_by=REFLECTED),
    ip("ip.reflected-ping", "root", "a ping to the host itself as if from the enemy: its data goes there", of="icmp",
       reflected=True, held_by=REFLECTED),
    *_flags(),
    *_fragments(),
    *(ip(f"ip.option-{name.split()[1]}-{name.split()[-1]}", "root", f"UDP with {name}", port=9, families=(4,),
         ip_options=route.ljust(16, "0"), held_by=HEADERS) for route, name in ROUTES),
    ip("ip.hop-by-hop", "root", "UDP behind a hop-by-hop header", port=9, families=(6,), headers=(HOP,),
       held_by=HEADERS),
    ip("ip.destination", "root", "UDP behind a destination header", port=9, families=(6,), headers=(DESTINATION,),
       held_by=HEADERS),
    ip("ip.routing", "root", "UDP behind a routing header", port=9, families=(6,), headers=(ROUTING,), held_by=HEADERS),
    ip("ip.atomic", "root", "UDP in a fragment that is all of it", port=9, families=(6,), headers=(FRAGMENT,),
       held_by=HEADERS),
    ip("ip.headers", "root", "UDP behind all of them", port=9, families=(6,),
       headers=(HOP, DESTINATION, ROUTING, FRAGMENT, DESTINATION), held_by=HEADERS),
    ip("ip.neighbour-behind", "root", "a kilobyte of a neighbour solicitation behind a header", families=(6,),
       of="icmp", type=135, neighbour=True, more=1000, hops=255, headers=(DESTINATION,),
       held_by="they leave up to 88 bytes long, headers and all"),
    ip("ip.neighbour-fragments", "root", "a neighbour solicitation in fragments", families=(6,), of="icmp", type=135,
       neighbour=True, more=200, hops=255, cut="overlapping", held_by=TRACKED),
)  # fmt: skip
