"""Frames from packet sockets, which pass no chain of iptables."""

from __future__ import annotations

from functools import partial

from hostguard.attack.case import Case, Holds, case

HOOK = "the hook on the way out of the interface: a packet that was never routed comes from a packet socket"
FOREIGN = "the hook on the way out of the interface: the MAC address is not its own"
frame = partial(case, way="frame", layer="frames", held_by=HOOK, holds=Holds.FRAMES, port=9)
ARP, EXPERIMENTAL, LLDP, STP_LIKE = 0x0806, 0x88B5, 0x88CC, 0x9000

CASES: tuple[Case, ...] = (
    frame("frame.udp", "root", "a frame with UDP", harmless=True),
    frame("frame.tcp", "root", "a frame with a SYN", of="tcp", flags="S"),
    frame("frame.icmp", "root", "a frame with a ping", of="icmp"),
    frame("frame.spoofed", "root", "a frame with a foreign IP source", spoofed=True),
    frame("frame.provider", "root", "a frame to a provider", of="tcp", flags="PA", port=443, to=("provider",)),
    frame("frame.fragment", "root", "a frame with a later fragment", more=32, cut="later"),
    frame("frame.datagram", "root", "UDP, framed by the kernel (SOCK_DGRAM)", datagram=True, harmless=True),
    frame("frame.bypass", "root", "past the queueing discipline (PACKET_QDISC_BYPASS)", bypass=True),
    frame("frame.bypass-datagram", "root", "past the queueing discipline, framed by the kernel", bypass=True,
          datagram=True),
    frame("frame.ring", "root", "out of shared memory (PACKET_TX_RING)", ring=True),
    frame("frame.offload", "root", "with an offload header (PACKET_VNET_HDR)", offload=True),
    frame("frame.foreign", "root", "a foreign MAC address", foreign=True, held_by=FOREIGN),
    frame("frame.to-everybody", "root", "to everybody on the link", families=(4,), to_everybody=True),
    frame("frame.loopback", "root", "a frame on loopback, to be forwarded", spoofed=True, on="lo",
          held_by="what comes in by loopback passes FORWARD like the rest", holds=Holds.RULES),
    frame("frame.group", "root", "a kilobyte to a group that no bridge forwards, such as LLDP's", families=(4,),
          kind=LLDP, more=1000, group="0180c200000e", holds=Holds.NOTHING,
          held_by="nothing: LLDP, LACP and 802.1X are sent so. It stays on the link"),
    frame("frame.tagged", "root", "a VLAN tag", tag=True),
    frame("frame.ethertype", "root", "another ethertype", families=(4,), kind=EXPERIMENTAL),
    frame("frame.ethertype-datagram", "root", "another ethertype, framed by the kernel", families=(4,),
          kind=EXPERIMENTAL, datagram=True),
    frame("frame.ethertype-bypass", "root", "another ethertype, past the queueing discipline", families=(4,),
          kind=EXPERIMENTAL, bypass=True),
    frame("frame.ethertype-loop", "root", "a loop test's ethertype", families=(4,), kind=STP_LIKE),
    frame("frame.lldp", "root", "as LLDP", families=(4,), kind=LLDP),
    frame("frame.llc", "root", "a length instead of an ethertype (LLC)", families=(4,), llc=True),
    frame("frame.arp-long", "root", "a kilobyte behind an ARP request", families=(4,), kind=ARP, more=1000),
    frame("frame.arp", "root", "16 bytes behind an ARP request", families=(4,), kind=ARP, holds=Holds.NOTHING,
          held_by="nothing: ARP must leave. It stays on the link, and its length is bounded"),
    case("frame.xdp", "root", "handed to the driver (AF_XDP)", "xdp",
         "nothing: no hook of the kernel's sees it. Keep CAP_NET_RAW from services, or AF_XDP by "
         "`RestrictAddressFamilies=`", layer="frames", families=(4,), holds=Holds.NOTHING, port=9),
)  # fmt: skip
