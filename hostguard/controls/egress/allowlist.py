"""Who may reach what, as sets in the kernel: one a family and account.

A set costs the same per packet with one entry and with 100,000, and is replaced by one swap. Rules name the set;
the addresses stand nowhere else.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from operator import itemgetter

from hostguard.host.kinds import ipset
from hostguard.host.resource import Resource
from hostguard.policy.destinations import Reach, leaving
from hostguard.policy.grammar import Network
from hostguard.policy.model import Egress

NETWORK = {"ipv4": ipaddress.IPv4Network, "ipv6": ipaddress.IPv6Network}
FAMILIES = tuple(NETWORK)
LONGEST_NAME = 31  # IPSET_MAXNAMELEN in linux/netfilter/ipset/ip_set.h, less its end
# Accounts have no capital letters, so none of them takes these names.
ANY, INBOUND, HELD = "ANY", "INBOUND", "HELD"


def family_of(network: Network) -> str:
    return f"ipv{network.version}"


def accounts(egress: Egress, family: str) -> list[str]:
    """The accounts with a set of their own, in order."""
    return sorted({way.account for way in leaving(egress) if way.account and _has(way, family)})


def _has(way: Reach, family: str) -> bool:
    return any(isinstance(network, NETWORK[family]) for network in way.networks)


def name(family: str, what: str) -> str:
    """A set's name: within the kernel's length, and never two accounts' the same."""
    plain = f"hostguard-{family[-1]}-{what}"
    if len(plain) <= LONGEST_NAME:
        return plain
    return f"{plain[: LONGEST_NAME - 9]}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def account_set(family: str, account: str) -> str:
    return name(family, account)


def any_set(family: str) -> str:
    return name(family, ANY)


def inbound_set(family: str) -> str:
    return name(family, INBOUND)


def held_set(family: str) -> str:
    return name(family, HELD)


def halves(network: Network) -> Sequence[Network]:
    """hash:net knows no prefix of length 0: the whole is its two halves."""
    return list(network.subnets()) if network.prefixlen == 0 else [network]


def entries(pairs: Iterable[tuple[Network, str, int]]) -> list[str]:
    # By numbers and not by networks, which are slow to compare: there may be 100,000.
    keyed = {(int(to[0].network_address), to[0].prefixlen, to[1], to[2]): to[0] for to in pairs}
    ordered = sorted(keyed.items(), key=itemgetter(0))
    return [f"{part},{protocol}:{port}" for (*_, protocol, port), network in ordered for part in halves(network)]


def has_any(egress: Egress, family: str) -> bool:
    return any(way.account is None and _has(way, family) for way in leaving(egress))


def inbound(egress: Egress, family: str) -> list[tuple[Network, str, int]]:
    """Who may connect in, and so be answered: (from, protocol, port)."""
    return [
        (network, way.protocol, port)
        for way in egress.inbound.values()
        for network in way.from_
        if family_of(network) == family
        for port in way.ports
    ]


def destination_sets(egress: Egress) -> list[Resource]:
    """The sets of everything that may leave."""
    pairs: dict[tuple[str, str], list[tuple[Network, str, int]]] = {}
    for way in leaving(egress):
        for family in FAMILIES:
            if networks := [network for network in way.networks if isinstance(network, NETWORK[family])]:
                key = account_set(family, way.account) if way.account else any_set(family)
                members = pairs.setdefault((family, key), [])
                members += [(network, way.protocol, way.port) for network in networks]
    return [
        ipset.resource("egress.destinations", family, key, "hash:net,port", entries(members))
        for (family, key), members in sorted(pairs.items(), key=itemgetter(0))
    ]


def reply_sets(egress: Egress) -> list[Resource]:
    """The sets of who may be answered, and of who was connected before the rules came."""
    found = []
    for family in FAMILIES:
        ways = inbound(egress, family)
        if ways:
            found.append(ipset.resource("egress.replies", family, inbound_set(family), "hash:net,port", entries(ways)))
            ports = sorted({port for _, protocol, port in ways if protocol == "tcp"})
            held = held_set(family)
            found.append(ipset.resource("egress.replies", family, held, "hash:ip,port", [], held=True, ports=ports))
    return found
