"""ICMP of both versions, and the other protocols beside TCP and UDP."""

from __future__ import annotations

from functools import partial

from hostguard.attack.case import DEFAULT, Case, Holds, Layer, Who, case

icmp = partial(case, way="raw", layer="ICMP", of="icmp")
SHORT, LONG = 8, 1000
NEIGHBOURS = (135, 136)
BOUNDED = "neighbour messages leave up to 88 bytes long"
BEYOND = "listener reports leave for ff02::/16 only, which no router passes on"


def protocol(number: int, id: str, name: str, **more: object) -> Case:
    who: Who = "root"
    layer: Layer = "other protocols"
    tries = f"{name} (protocol {number})"
    return case(f"protocol.{id}", who, tries, "raw", DEFAULT, layer=layer, protocol=number, **more)


CASES: tuple[Case, ...] = (
    case("icmp.unprivileged", "application", "ping without root (ping_group_range)", "ping", layer="ICMP",
         harmless=True),
    icmp("icmp.ping", "root", "ping", harmless=True),
    icmp("icmp.ping-provider", "root", "ping a provider", to=("provider",),
         held_by="a set holds TCP or UDP ports, nothing else"),
    icmp("icmp.data", "root", "a kilobyte in a ping", more=LONG),
    icmp("icmp.every-type", "root", "every type of ICMP, 256 packets", families=(4,), every="type", count=256),
    icmp("icmp.every-type-v6", "root", "every type of ICMPv6 but neighbours' at a hop limit of 64", families=(6,),
         every="type", but=NEIGHBOURS, count=254),
    icmp("icmp.every-type-near", "root", "every type of ICMPv6 with a hop limit of 255 and a kilobyte", families=(6,),
         every="type", hops=255, more=LONG, held_by=BOUNDED, count=256),
    icmp("icmp.neighbour", "root", "a kilobyte in a neighbour solicitation: routers forward it", families=(6,),
         type=135, hops=255, neighbour=True, more=LONG, held_by=BOUNDED),
    icmp("icmp.neighbour-far", "root", "a neighbour solicitation that has passed a router", families=(6,), type=135,
         hops=64, neighbour=True, held_by="they leave with a hop limit of 255 only"),
    icmp("icmp.neighbour-short", "root", "16 bytes in a neighbour solicitation", families=(6,), type=135, hops=255,
         neighbour=True, holds=Holds.NOTHING,
         held_by="nothing: IPv6 finds its neighbours by them. They leave up to 88 bytes long, with 48 bytes of root's "
         "choice"),
    icmp("icmp.router-solicitation", "root", "a router solicitation to a stranger", families=(6,), type=133, hops=255,
         held_by="they leave for ff02::2 only"),
    icmp("icmp.router-advertisement", "root", "a router advertisement to the link", families=(6,), type=134, hops=255,
         to=("all hosts",)),
    icmp("icmp.listener-report", "root", "a kilobyte in a listener report, to the link", families=(6,), type=143,
         hops=1, to=("listeners",), more=LONG, holds=Holds.NOTHING,
         held_by="nothing: a switch may forward multicast to reporters only. They leave for ff02::/16, which no router "
         "passes on"),
    icmp("icmp.listener-report-far", "root", "a listener report to a stranger", families=(6,), type=143,
         held_by=BEYOND),
    icmp("icmp.listener-report-site", "root", "a listener report to a group that routers pass on", families=(6,),
         type=143, to=("site multicast",), held_by=BEYOND),
    icmp("icmp.too-big", "root", "an error about a packet that never was", families=(4,), type=3, code=4),
    icmp("icmp.too-big-v6", "root", "an error about a packet that never was", families=(6,), type=2),
    icmp("icmp.broadcast", "root", "ping everybody", families=(4,), to=("broadcast",)),
    icmp("icmp.all-hosts", "root", "ping the group of all hosts", to=("all hosts",)),
    icmp("icmp.neighbour-ping", "root", "ping the next hop", to=("neighbour",), harmless=True),
    protocol(2, "igmp", "a group report (IGMP)", families=(4,), to=("all hosts",)),
    protocol(4, "ipip", "IPv4 in IP"),
    protocol(41, "ipv6", "IPv6 in IP"),
    protocol(47, "gre", "GRE"),
    protocol(50, "esp", "ESP"),
    protocol(51, "ah", "AH", families=(4,)),
    protocol(89, "ospf", "OSPF", to=("all hosts",)),
    protocol(103, "pim", "PIM"),
    protocol(112, "vrrp", "VRRP", families=(4,), to=("vrrp",)),
    protocol(115, "l2tp", "L2TP"),
    protocol(132, "sctp", "SCTP"),
    protocol(33, "dccp", "DCCP"),
    protocol(136, "udp-lite", "UDP-Lite, by a raw socket"),
    protocol(253, "experimental", "one for experiments", harmless=True),
    protocol(200, "unassigned", "an unassigned one", harmless=True),
    case("protocol.every", "root", "every protocol, 256 packets", "header", DEFAULT, layer="other protocols",
         every="protocol", families=(4,), count=256),
    case("protocol.every-v6", "root", "every next header, 256 packets", "header", DEFAULT, layer="other protocols",
         every="protocol", families=(6,), count=256),
)  # fmt: skip
