"""What leaves a device without having passed a chain of iptables: frames from packet sockets, and the packets of
network namespaces with a leg of their own on the device."""

from __future__ import annotations

from hostguard.controls.egress.chains import DENY, OBSERVE
from hostguard.host.kinds.frames import HARDWARE_ADDRESS, resource
from hostguard.host.resource import Resource
from hostguard.policy.destinations import leaving
from hostguard.policy.model import Egress

CONTROL = "egress.frames"
DHCP_SERVER = 67
# What IP itself sends has a route, and so a class of routes (mostly 0); to what a packet socket sends the kernel
# gives none, and no option of the socket can.
ROUTED = "meta rtclassid 0-4294967295"
# A source that is not the host's. Not of link-local addresses: seen from the device below a VLAN they are nobody's.
FOREIGN = "fib saddr type != local"
NEIGHBOURS = (
    "ip6 saddr fe80::/10 ip6 daddr { fe80::/10, ff02::/16 } accept",
    "ip6 saddr fe80::/10 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    "ip6 saddr :: ip6 daddr ff02::/16 meta l4proto ipv6-icmp accept",
)
# A route may put a packet into another one (segment routing), to another destination, once OUTPUT has let it out. What
# OUTPUT and FORWARD let out is none of these.
REDIRECTED = ("meta l4proto != { tcp, udp, icmp, ipv6-icmp }", "exthdr rt exists")
# Arping, address conflict detection and VRRP send these from packet sockets. 28 bytes, or padded to Ethernet's least.
ARP = "arp htype 1 arp ptype ip arp hlen 6 arp plen 4 meta length 42-60"
# LACP, LLDP, 802.1X, spanning tree: no bridge forwards them (IEEE 802.1Q, table 8-1).
LINK = "ether daddr 01:80:c2:00:00:00-01:80:c2:00:00:0f"
# From a client without an address, or one that has lost its server. Options end within 576 bytes of IP (RFC 2131).
DHCP = "ether daddr ff:ff:ff:ff:ff:ff ip daddr 255.255.255.255 udp sport 68 udp dport 67 meta length 0-590"


def frames(egress: Egress) -> list[Resource]:
    if egress.frames == "allow":
        return []
    holds = egress.mode == "enforce"
    refuse = [f'limit rate 10/minute burst 20 packets log prefix "{DENY if holds else OBSERVE}"']
    dhcp = any((to.protocol, to.port) == ("udp", DHCP_SERVER) for to in leaving(egress))
    chains = {
        "refuse": [*refuse, "drop"] if holds else refuse,
        "routed": [
            *NEIGHBOURS,
            *(["ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept"] if dhcp else []),
            f"{FOREIGN} goto refuse",
        ],
        "leaving": [
            *(f"{ROUTED} {redirected} goto refuse" for redirected in REDIRECTED),
            # Under `containers: same` what has a route may be a container's: its device rule looks at it.
            f"{ROUTED} goto routed" if egress.containers == "deny" else f"{ROUTED} accept",
            f"{ARP} accept",
            f"{LINK} accept",
            *([f"{DHCP} accept"] if dhcp else []),
            "goto refuse",
        ],
    }
    # A routed container's packets leave with the device's own address; those of a leg (macvlan) do not.
    legs = [f"ether saddr != {HARDWARE_ADDRESS} {ROUTED} goto routed"] if egress.containers == "same" else []
    return [resource(CONTROL, chains, [*legs, "jump leaving"], holds, dhcp)]
