"""Where a policy lets a host go: each destination once, by account, for whoever asks (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hostguard.policy.document import Path
from hostguard.policy.grammar import Network
from hostguard.policy.model import Egress

DNS, NTP = 53, 123
ASKER = "dnsmasq"
"""The account of the host's own resolver, which alone asks others where the policy has names: Debian's package makes
it, and Fedora's."""


class Destination(NamedTuple):
    """One network of an allowlist. `account` None is any account; `path` is where the policy says it."""

    account: str | None
    protocol: str
    port: int
    network: Network
    path: Path


class Reach(NamedTuple):
    """All networks of one entry of the policy that an account reaches on a port; `path` is that of the list.

    There may be 100,000 networks in one.
    """

    account: str | None
    protocol: str
    port: int
    networks: tuple[Network, ...]
    path: Path


class NamedReach(NamedTuple):
    """One name that an account reaches on a port. `account` None is any account."""

    account: str | None
    protocol: str
    port: int
    host: str
    path: Path


def reaches(egress: Egress) -> Iterator[Reach]:
    """What providers and services have networks for, account by account."""
    by = egress.proxy_user if egress.via == "proxy" else None
    for name, provider in egress.providers.items():
        for port in provider.ports:
            yield Reach(by, "tcp", port, provider.cidrs, ("egress", "providers", name, "cidrs"))
    for name, service in egress.services.items():
        for port in service.ports:
            for user in service.users or (None,):
                yield Reach(user, service.protocol, port, service.cidrs, ("egress", "services", name, "cidrs"))


def leaving(egress: Egress) -> Iterator[Reach]:
    """Everything that may leave: the same, with resolvers and time servers."""
    askers = (ASKER,) if egress.hosts else egress.resolver_users or (None,)
    for resolver in egress.resolvers:
        for account in askers:
            for protocol in ("udp", "tcp"):
                yield Reach(account, protocol, DNS, (ipaddress.ip_network(resolver),), ("egress", "resolvers"))
    for server in egress.time_servers:
        yield Reach(None, "udp", NTP, (ipaddress.ip_network(server),), ("egress", "time_servers"))
    yield from reaches(egress)


def destinations(among: Iterable[Reach]) -> Iterator[Destination]:
    """The same, network by network."""
    for account, protocol, port, networks, path in among:
        for at, network in enumerate(networks):
            yield Destination(account, protocol, port, network, (*path, at))


def named_reaches(egress: Egress) -> Iterator[NamedReach]:
    """Everything that the policy lets out by its name, account by account."""
    by = egress.proxy_user if egress.via == "proxy" else None
    for name, provider in egress.providers.items():
        for at, host in enumerate(provider.hosts):
            for port in provider.ports:
                yield NamedReach(by, "tcp", port, host, ("egress", "providers", name, "hosts", at))
    for name, service in egress.services.items():
        for at, host in enumerate(service.hosts):
            for port in service.ports:
                for user in service.users or (None,):
                    path = ("egress", "services", name, "hosts", at)
                    yield NamedReach(user, service.protocol, port, host, path)


def is_among(host: str, names: Iterable[str]) -> bool:
    """Whether a name is one of these, or below one with `*.`."""
    return any(host == name or holds(name, host) for name in names)


def holds(wildcard: str, host: str) -> bool:
    """Whether a `*.` name holds another name, or the narrower of two `*.` names."""
    return wildcard != host and wildcard.startswith("*.") and host.removeprefix("*.").endswith(wildcard[1:])
