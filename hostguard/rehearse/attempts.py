"""What is tried, from the policy alone: every sanctioned way must work, every other must stay shut (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from hostguard.controls.egress.allowlist import ASKER, DNS, NTP, allowed
from hostguard.policy.checks import destinations
from hostguard.policy.model import Address, Egress, Network

Way = Literal["tcp", "udp", "icmp", "neighbour", "raw", "answer", "forward", "frame", "loopback", "name"]

STRANGER = "nobody"
"""An account that no policy names; the rehearsal gives it to whoever is not a service."""
NAMED = "192.88.99.1"
"""Where every name leads to in the rehearsal's world: no private address, and nobody's any more (RFC 7526)."""
HIDDEN_PORT = 4444
MANAGEMENT_PORT = 22
# Documentation and benchmark addresses that a policy may hold too: the first that it does not.
ENEMIES = ("198.51.100.66", "192.0.2.66", "198.18.66.66", "100.64.66.66")
ENEMIES_V6 = ("2001:db8:bad::66", "2001:db8:dead::66", "3fff:66::66")
ORDINARY = ("192.0.2.77", "2001:db8:77::77")
RAW_PROTOCOL = 253
"""For experimentation (RFC 3692): no firewall knows it, so only a default of DROP holds it."""


@dataclass(frozen=True)
class Attempt:
    """One try. `sanctioned`: it must work; else it must be held; None: nothing here holds it, and it is shown.

    `account` is who tries (or, of an `answer`, nobody: the stranger's address is `source`).
    """

    name: str
    way: Way
    account: str
    address: str
    port: int
    sanctioned: bool | None
    source: str = ""
    source_port: int = 0
    by_account: bool = False
    """Held only because of who tries: with one account alone it can't be told from the sanctioned way."""


def first(network: Network) -> str:
    """An address of a network that a host can have."""
    candidates = [network[1] if network.num_addresses > 2 else network[0], *map(ipaddress.ip_address, ORDINARY)]
    fit = (a for a in candidates if a in network and a.version == network.version and not _special(a))
    return str(next(fit, candidates[0]))


def _special(address: Address) -> bool:
    """Whether nobody can have this address: a network as wide as 0.0.0.0/0 begins with such ones."""
    this_network = address.version == 4 and int(address) >> 24 == 0
    return address.is_loopback or address.is_unspecified or address.is_multicast or this_network


def named(egress: Egress) -> list[Network]:
    """Every network that the policy names."""
    found: list[Network] = [ipaddress.ip_network(server) for server in (*egress.resolvers, *egress.time_servers)]
    found += [to.network for to in destinations(egress)]
    for inbound in egress.inbound.values():
        found += inbound.from_
    return found


def outside(egress: Egress, candidates: tuple[str, ...]) -> str | None:
    """The first of some addresses that the policy does not name."""
    networks = [network for network in named(egress) if network.prefixlen > 0]
    for text in candidates:
        address: Address = ipaddress.ip_address(text)
        if not any(address in network for network in networks):
            return text
    return None


def attempts(egress: Egress) -> list[Attempt]:
    """Everything to try, the sanctioned ways first; what the policy lets out after all is no way to be held."""
    everybody = {to.account for to in allowed(egress) if to.account}
    held = []
    for attempt in unsanctioned(egress):
        if attempt.way in ("tcp", "udp"):
            if permits(egress, attempt, {attempt.account}):
                continue
            attempt = replace(attempt, by_account=permits(egress, attempt, everybody))
        held.append(attempt)
    return [*sanctioned(egress), *held]


def permits(egress: Egress, attempt: Attempt, accounts: Container[str]) -> bool:
    """Whether the policy lets one of some accounts (or every account) do this."""
    address = ipaddress.ip_address(attempt.address)
    return any(
        (to.account is None or to.account in accounts)
        and (to.protocol, to.port) == (attempt.way, attempt.port)
        and address in to.network
        for to in allowed(egress)
    )


def families(cidrs: tuple[Network, ...]) -> Iterator[str]:
    """One address of each family in a list of networks."""
    for version in (4, 6):
        for network in cidrs:
            if network.version == version:
                yield first(network)
                break


def one_of(host: str) -> str:
    """A name that a policy's name, or `*.` name, is about."""
    return host.replace("*", "any")


def sanctioned(egress: Egress) -> Iterator[Attempt]:
    caller = egress.proxy_user if egress.via == "proxy" and egress.proxy_user else STRANGER
    for name, provider in egress.providers.items():
        for address in families(provider.cidrs):
            yield Attempt(f"provider {name}", "tcp", caller, address, provider.ports[0], True)
            if egress.containers == "same" and egress.via == "direct":
                yield Attempt(
                    f"provider {name}, from a container", "forward", "container", address, provider.ports[0], True
                )
        for host in provider.hosts[:1]:
            yield Attempt(f"provider {name} by its name", "name", caller, one_of(host), provider.ports[0], True)
    for name, service in egress.services.items():
        for address in families(service.cidrs):
            user = (service.users or (STRANGER,))[0]
            yield Attempt(f"service {name}", service.protocol, user, address, service.ports[0], True)
        for host in service.hosts[:1] if service.protocol == "tcp" else ():
            user = (service.users or (STRANGER,))[0]
            yield Attempt(f"service {name} by its name", "name", user, one_of(host), service.ports[0], True)
    asker = ASKER if egress.hosts else (egress.resolver_users or (STRANGER,))[0]
    for resolver in egress.resolvers:
        yield Attempt("DNS over UDP", "udp", asker, str(resolver), DNS, True)
        yield Attempt("DNS over TCP", "tcp", asker, str(resolver), DNS, True)
    for server in egress.time_servers:
        yield Attempt("time", "udp", STRANGER, str(server), NTP, True)
    for name, way in egress.inbound.items():
        if way.protocol == "tcp":
            for address in families(way.from_):
                port = way.ports[0]
                yield Attempt(f"answers {name}", "answer", STRANGER, "", port, True, source=address)
    yield Attempt("loopback", "loopback", STRANGER, "127.0.0.1", HIDDEN_PORT, True)


def unsanctioned(egress: Egress) -> Iterator[Attempt]:
    proxied = egress.via == "proxy" and egress.proxy_user
    caller = egress.proxy_user or STRANGER
    provider = next((p for p in egress.providers.values()), None)
    if provider:
        for address in families(provider.cidrs):
            if proxied:
                yield Attempt("a provider, past the proxy", "tcp", STRANGER, address, provider.ports[0], False)
                yield Attempt("a provider, by root", "tcp", "root", address, provider.ports[0], False)
            yield Attempt("a provider over QUIC", "udp", caller, address, provider.ports[0], False)
            yield Attempt("ping a provider", "icmp", "root", address, 0, False)
    for enemy in filter(None, (outside(egress, ENEMIES), outside(egress, ENEMIES_V6))):
        yield Attempt("another address", "tcp", caller, enemy, 443, False)
        yield Attempt("another address, by root", "tcp", "root", enemy, 443, False)
        yield Attempt("another resolver", "udp", (egress.resolver_users or (STRANGER,))[0], enemy, DNS, False)
        yield Attempt("another time server", "udp", STRANGER, enemy, NTP, False)
        yield Attempt("from the SSH port", "tcp", "root", enemy, 443, False, source_port=MANAGEMENT_PORT)
        yield Attempt("a protocol of its own", "raw", "root", enemy, RAW_PROTOCOL, False)
        yield Attempt("ping", "icmp", "root", enemy, 0, False)
        if ":" in enemy:
            yield Attempt("data in a neighbour solicitation", "neighbour", "root", enemy, 0, False)
        yield Attempt("answers on a hidden port", "answer", STRANGER, "", HIDDEN_PORT, False, source=enemy)
        # A policy may answer the whole world: then there is no stranger.
        for name, way in egress.inbound.items():
            answered = any(ipaddress.ip_address(enemy) in network for network in way.from_)
            if way.protocol == "tcp" and not answered:
                yield Attempt(
                    f"answers {name} to a stranger", "answer", STRANGER, "", way.ports[0], False, source=enemy
                )
        yield Attempt("from a container", "forward", "container", enemy, 443, False)
    if (egress.resolver_users or egress.hosts) and egress.resolvers:
        yield Attempt("DNS by another account", "udp", STRANGER, str(egress.resolvers[0]), DNS, False)
    for name, service in egress.services.items():
        if service.users and service.cidrs:
            address = first(service.cidrs[0])
            by_other = f"service {name}, by another account"
            yield Attempt(by_other, service.protocol, STRANGER, address, service.ports[0], False)
    held = False if egress.frames == "hold" else None
    yield Attempt("a raw Ethernet frame, by root", "frame", "root", "", 0, held)
