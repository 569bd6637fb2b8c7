"""What ordinary sockets send: TCP and UDP, with all that may be asked of a socket."""

from __future__ import annotations

from functools import partial
from typing import Any

from hostguard.attack.case import ACCOUNT, DEFAULT, Case, Holds, case

tcp = partial(case, way="tcp", layer="TCP", harmless=True)
udp = partial(case, way="udp", layer="UDP", harmless=True)
MPTCP, UDP_LITE = 262, 136
KERNEL_SENDS = "OUTPUT sees it as any other: " + DEFAULT


def question(id: str, tries: str, held_by: str, **more: Any) -> Case:
    """Asked as any program asks, where the policy has names."""
    return case(id, "asker", tries, "question", held_by, layer="names", to=("resolver",), port=53, **more)


CASES: tuple[Case, ...] = (
    tcp("tcp.connect", "application", "another address"),
    tcp("tcp.by-proxy", "proxy", "another address"),
    tcp("tcp.by-root", "root", "another address"),
    tcp("tcp.past-proxy", "application", "a provider, past the proxy", held_by=ACCOUNT, to=("provider",)),
    tcp("tcp.past-proxy-root", "root", "a provider, past the proxy", held_by=ACCOUNT, to=("provider",)),
    tcp("tcp.provider-port", "proxy", "a provider's other port", to=("provider",), port=8443,
        held_by="a set holds address and port"),
    tcp("tcp.neighbour", "application", "the next hop itself", to=("neighbour",)),
    tcp("tcp.metadata", "application", "a cloud's metadata service", to=("metadata",), port=80, families=(4,)),
    tcp("tcp.link-local", "application", "a link-local address", to=("link-local",), port=80),
    tcp("tcp.resolver-port", "asker", "the resolver's other port", to=("resolver",), port=853),
    tcp("tcp.dns", "application", "the resolver, by another account", held_by=ACCOUNT, to=("resolver",), port=53),
    tcp("tcp.dns-elsewhere", "asker", "another resolver", port=53),
    tcp("tcp.fast-open", "application", "data in the first packet (TCP fast open)", fast_open=True),
    tcp("tcp.mptcp", "application", "multipath TCP", protocol=MPTCP),
    tcp("tcp.device", "application", "bound to the interface (SO_BINDTODEVICE)", set=("device",)),
    tcp("tcp.priority", "application", "with a priority (SO_PRIORITY)", set=("priority",)),
    tcp("tcp.mark", "root", "with a firewall mark (SO_MARK)", set=("mark",)),
    tcp("tcp.no-route", "application", "past the routing table (SO_DONTROUTE)", to=("neighbour",), set=("no route",)),
    tcp("tcp.from-ssh-port", "root", "from the SSH port", sport=22, harmless=False,
        held_by="replies are those of a tracked connection to a sanctioned port, not what leaves from one"),
    tcp("tcp.transparent", "root", "from a foreign source (IP_TRANSPARENT)", set=("transparent",), harmless=False),
    tcp("tcp.source-route", "root", "with a source route (IP_OPTIONS)", families=(4,), set=("source route",)),
    tcp("tcp.record-route", "application", "with a recorded route (IP_OPTIONS)", families=(4,), set=("record route",)),
    tcp("tcp.hop-by-hop", "root", "with a hop-by-hop header", families=(6,), set=("hop-by-hop",)),
    tcp("tcp.destination", "root", "with a destination header", families=(6,), set=("destination",)),
    udp("udp.send", "application", "another address", port=9),
    udp("udp.connected", "application", "another address, connected first", port=9, connected=True),
    udp("udp.by-proxy", "proxy", "another address", port=9),
    udp("udp.by-root", "root", "another address", port=9),
    udp("udp.quic", "proxy", "a provider over QUIC", to=("provider",), held_by="a provider's ports are TCP's"),
    udp("udp.quic-elsewhere", "application", "another address over QUIC"),
    udp("udp.resolver", "asker", "another resolver", port=53),
    udp("udp.dns", "application", "the resolver, by another account", held_by=ACCOUNT, to=("resolver",), port=53),
    udp("udp.time", "application", "another time server", port=123),
    udp("udp.time-port", "application", "the time server's other port", to=("time server",), port=9),
    udp("udp.wireguard", "application", "a tunnel's port", port=51820),
    udp("udp.dhcp", "root", "as a DHCP client (port 68 to 67)", families=(4,), sport=68, dport=67),
    udp("udp.dhcp-broadcast", "root", "as a DHCP client, to everybody", families=(4,), to=("broadcast",), sport=68,
        dport=67),
    udp("udp.lite", "application", "UDP-Lite", port=9, protocol=UDP_LITE),
    udp("udp.segments", "application", "in segments (UDP GSO)", port=9, segments=3, harmless=False),
    udp("udp.fragments", "application", "longer than the link: in fragments", port=9, more=3000, harmless=False),
    case("udp.io-uring", "application", "through io_uring", "io_uring", KERNEL_SENDS, layer="UDP", port=9,
         harmless=True),
    udp("udp.device", "application", "bound to the interface (SO_BINDTODEVICE)", port=9, set=("device",)),
    udp("udp.mark", "root", "with a firewall mark (SO_MARK)", port=9, set=("mark",)),
    udp("udp.priority", "application", "with a priority (SO_PRIORITY)", port=9, set=("priority",)),
    udp("udp.transparent", "root", "from a foreign source (IP_TRANSPARENT)", port=9, set=("transparent",),
        harmless=False),
    udp("udp.source-route", "root", "with a source route", families=(4,), port=9, set=("source route",)),
    udp("udp.record-route", "application", "with a recorded route", families=(4,), port=9, set=("record route",)),
    udp("udp.hop-by-hop", "root", "with a hop-by-hop header", families=(6,), port=9, set=("hop-by-hop",)),
    udp("udp.destination", "root", "with a destination header", families=(6,), port=9, set=("destination",)),
    udp("udp.neighbour", "application", "the next hop itself", to=("neighbour",), port=9),
    udp("udp.link-local", "application", "a link-local address", to=("link-local",), port=9),
    # What all of a link would hear is not for a host in service.
    udp("udp.broadcast", "application", "everybody on the link", families=(4,), to=("broadcast",), port=9,
        harmless=False),
    udp("udp.subnet-broadcast", "application", "everybody on the subnet", families=(4,), to=("subnet broadcast",),
        port=9, harmless=False),
    udp("udp.mdns", "application", "multicast DNS", to=("mdns",), port=5353, harmless=False),
    udp("udp.ssdp", "application", "multicast discovery (SSDP)", to=("ssdp",), port=1900, harmless=False),
    udp("udp.all-hosts", "application", "the group of all hosts", to=("all hosts",), port=9, harmless=False),
    udp("udp.site-multicast", "application", "a group that routers pass on in a site", to=("site multicast",), port=9,
        harmless=False),
    udp("udp.global-multicast", "application", "a group that routers pass on", to=("global multicast",), port=9,
        harmless=False),
    question("names.foreign", "data as a name that the policy does not name",
             "the host's own resolver answers that there is none, and asks nobody", of="foreign"),
    question("names.below", "data as a name below one that the policy names",
             "`api.provider.com` is that name, and none below it", of="exact"),
    question("names.wildcard", "data as a name below a `*.` of the policy",
             "nothing: whoever can choose the name tells its owner's name servers something. Name them one by one",
             of="wildcard", holds=Holds.NOTHING),
    case("names.question", "asker", "data as a name, through the sanctioned resolver", "udp",
         "nothing: the resolver answers for any name. Choose one that filters, or name providers by `hosts`",
         layer="names", to=("resolver",),
         port=53, holds=Holds.NOTHING),
)  # fmt: skip
