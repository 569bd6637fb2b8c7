"""What a policy would have to say besides, for all that was seen to go on: entries, and what can't be one (pure)."""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hostguard import impact
from hostguard.observe.seen import Process, Seen, Sight, Trip
from hostguard.policy.checks import sent_by_kernel
from hostguard.policy.destinations import DNS, NTP, is_among, named_reaches
from hostguard.policy.grammar import Address, Network
from hostguard.policy.model import Egress

PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
                               "224.0.0.0/4", "255.255.255.255/32", "fc00::/7", "fe80::/10", "ff00::/8"))
)  # fmt: skip
ACCOUNT = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
HOST = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)
MANY = 16
"""So many callers off the host's own networks, and their addresses name nobody."""
NO_ACCOUNT = ""
OPEN_TO_ALL = "the kernel itself sends it, which no `users` would match, so every account may send there"
MOST_TOLD = 6
LONGEST_NAME = 63


@dataclass(frozen=True)
class Entry:
    """A new key of a mapping of the policy's section `egress`, or a new item of a list: then `name` is the item."""

    section: str
    name: str
    value: dict[str, Any] | None
    comments: tuple[str, ...]


@dataclass(frozen=True)
class Proposal:
    entries: tuple[Entry, ...]
    remarks: tuple[str, ...]
    """What was seen and is not let out by the entries, each with what would."""


def propose(egress: Egress, seen: Seen) -> Proposal:
    asked = _Asked(egress, seen)
    for way, sight in sorted(seen.ways.items(), key=_order):
        asked.sort_out(way, sight)
    asked.remark_leases()
    entries = [*asked.servers(), *asked.destinations(), *asked.callers()]
    return Proposal(tuple(entries), tuple(asked.remarks))


def _order(item: tuple[Trip, Sight]) -> tuple[Any, ...]:
    way = item[0]
    return way.peer.version, int(way.peer), way.protocol, way.port, way.account


class _Asked:
    """What is not in the policy yet, by what it would become."""

    def __init__(self, egress: Egress, seen: Seen) -> None:
        self.egress, self.seen = egress, seen
        self.may_leave, self.may_ask = impact.matchers(egress)
        self.named: dict[tuple[str | None, str, int], list[str]] = {}
        for to in named_reaches(egress):
            self.named.setdefault((to.account, to.protocol, to.port), []).append(to.host)
        self.resolvers: list[tuple[Trip, Sight]] = []
        self.clocks: list[tuple[Trip, Sight]] = []
        self.leaving: dict[tuple[str, str], list[tuple[Trip, Sight]]] = {}
        self.calling: dict[tuple[str, int], list[tuple[Trip, Sight]]] = {}
        self.remarks: list[str] = []
        self.taken = {"providers": set(egress.providers), "services": set(egress.services),
                      "inbound": set(egress.inbound)}  # fmt: skip

    def sort_out(self, way: Trip, sight: Sight) -> None:
        pair = (way, sight)
        told = self.told(way, sight)
        if way.source is not None:
            self.remarks.append(f"{told}: containers reach what every account may, under `containers: same`")
        elif way.protocol not in ("tcp", "udp") or not way.port:
            self.remarks.append(f"{told}: no policy lets {way.protocol} out")
        elif way.answer:
            if not sight.refused and not self.may_ask(self.socket(way)):
                self.calling.setdefault((way.protocol, way.port), []).append(pair)
        elif (not way.account and sight.ending) or self.may_leave(self.socket(way)) or self.by_name(way):
            pass
        elif way.peer.is_loopback and way.port != DNS:
            # No entry of `egress` lets anybody in there: an address of the host's own is no destination.
            self.remarks.append(f"{told}: a port of the gateway's is open to the `users` of its provider alone")
        elif not way.account:
            self.by_kernel(way, sight, told)
        elif way.port == DNS and self.egress.hosts:
            self.remarks.append(f"{told}: where there are `hosts`, the host's own resolver alone may")
        elif way.port == DNS:
            self.resolvers.append(pair)
        elif (way.protocol, way.port) == ("udp", NTP):
            self.clocks.append(pair)
        else:
            self.leave(way, sight, told)

    def by_kernel(self, way: Trip, sight: Sight, told: str) -> None:
        """What the kernel sends by itself: no `users` would match it, so an entry lets every account there."""
        label = sent_by_kernel(way.protocol, way.port) or self.label(way.peer)
        if self.egress.via == "proxy" and self.public(way):
            own = f"{label}: {{cidrs: [{_quoted(way.peer)}], ports: [{way.port}]}}"
            self.remarks.append(f"{told}, in no account's name: under services say {own}, which lets every account")
        else:
            self.leaving.setdefault(("services", label), []).append((way, sight))

    def by_name(self, way: Trip) -> bool:
        """Whether its name lets it out: then its address needs no entry."""
        hosts = [host for who in (None, way.account) for host in self.named.get((who, way.protocol, way.port), ())]
        names = self.seen.names.of(way.peer)
        return any(is_among(name, hosts) for name in names)

    def leave(self, way: Trip, sight: Sight, told: str) -> None:
        provider = self.public(way)
        label = self.label(way.peer)
        if provider and self.egress.via == "proxy" and way.account != self.egress.proxy_user:
            own = f"{label}: {{cidrs: [{_quoted(way.peer)}], ports: [{way.port}], users: [{way.account}]}}"
            past = f"past the proxy: send it through {self.egress.proxy_user}, or under services say"
            self.remarks.append(f"{told}, {past} {own}")
        elif not provider and not ACCOUNT.fullmatch(way.account):
            self.remarks.append(f"{told}: an account without a name can't stand in a policy")
        else:
            self.leaving.setdefault(("providers" if provider else "services", label), []).append((way, sight))

    def public(self, way: Trip) -> bool:
        """Whether it is what a provider is reached by."""
        return way.protocol == "tcp" and not any(way.peer in network for network in PRIVATE)

    def remark_leases(self) -> None:
        for port, account in self.seen.leases.items():
            server = 67 if port == 68 else 547
            if not any((way.protocol, way.port) == ("udp", server) for way in self.seen.ways):
                ports = f"ports: [{server}], protocol: udp, users: [{account}]"
                self.remarks.append(
                    f"{account} waits for its DHCP server on udp {port}, and renewed nothing in this time: if it does, "
                    f"under services say dhcp: {{cidrs: [ITS ADDRESS], {ports}}}"
                )

    def servers(self) -> Iterator[Entry]:
        """Resolvers, who may ask them, and time servers."""
        yield from self.items("resolvers", self.resolvers, set(self.egress.resolvers))
        if self.egress.resolver_users is not None:
            of_account: dict[str, list[str]] = {}
            for way, sight in self.resolvers:
                if way.account not in self.egress.resolver_users:
                    of_account.setdefault(way.account, []).append(self.told(way, sight))
            for account, told in of_account.items():
                yield Entry("resolver_users", account, None, _few(told))
        yield from self.items("time_servers", self.clocks, set(self.egress.time_servers))

    def items(self, section: str, pairs: Sequence[tuple[Trip, Sight]], there: set[Address]) -> Iterator[Entry]:
        of_peer: dict[Address, list[str]] = {}
        for way, sight in pairs:
            if way.peer not in there:
                of_peer.setdefault(way.peer, []).append(self.told(way, sight))
        for peer, told in of_peer.items():
            yield Entry(section, str(peer), None, _few(told))

    def destinations(self) -> Iterator[Entry]:
        """Providers and services: what is asked of each address exactly, addresses of one name together."""
        for (section, label), pairs in self.leaving.items():
            needs: dict[Address, set[tuple[str, str, int]]] = {}
            for way, _ in pairs:
                account = way.account if section == "services" else ""
                needs.setdefault(way.peer, set()).add((account, way.protocol, way.port))
            alike: dict[frozenset[tuple[str, str, int]], list[Address]] = {}
            for peer, asked in needs.items():
                alike.setdefault(frozenset(asked), []).append(peer)
            for same, peers in alike.items():
                told = _few([self.told(way, sight) for way, sight in pairs if way.peer in peers])
                if self.seen.names.of(peers[0]) and HOST.fullmatch(label):
                    told = (*told, f"by its name instead of cidrs: hosts: [{label}] (see docs/names.md)")
                for users, protocol, ports in _parted(same):
                    value: dict[str, Any] = {"cidrs": [_network(peer) for peer in peers], "ports": ports}
                    comments = told
                    if section == "services" and NO_ACCOUNT in users:
                        comments = (f"CHECK: {OPEN_TO_ALL}", *told)
                    elif section == "services":
                        value["users"] = users
                    if protocol == "udp":
                        value["protocol"] = protocol
                    yield Entry(section, self.name(section, label), value, comments)

    def callers(self) -> Iterator[Entry]:
        for (protocol, port), pairs in self.calling.items():
            networks, world = self.networks(dict.fromkeys(way.peer for way, _ in pairs))
            value: dict[str, Any] = {"from": list(map(str, networks)), "ports": [port]}
            if protocol == "udp":
                value["protocol"] = protocol
            commands = [process.command for _, sight in pairs for process in sight.processes if process.command]
            label = commands[0] if commands else f"{protocol}-{port}"
            more = (f"CHECK: more than {MANY} callers, so open to the world",) if world else ()
            told = _few([self.told(way, sight) for way, sight in pairs])
            yield Entry("inbound", self.name("inbound", label), value, (*more, *told))

    def networks(self, peers: dict[Address, None]) -> tuple[list[Network], bool]:
        """Where callers are: the network that the host shares with them, else each by its address."""
        found: list[Network] = []
        world = False
        for version in (4, 6):
            near, far = set[Any](), set[Any]()
            for peer in (each for each in peers if each.version == version):
                shared = [link for link in self.seen.links if peer in link]
                if shared:
                    near.add(max(shared, key=lambda link: link.prefixlen))
                else:
                    far.add(ipaddress.ip_network(peer))
            if len(far) > MANY:
                world, near, far = True, set(), {ipaddress.ip_network("0.0.0.0/0" if version == 4 else "::/0")}
            found += ipaddress.collapse_addresses(near | far)
        return found, world

    def label(self, peer: Address) -> str:
        names = self.seen.names.of(peer)
        return names[-1] if names else str(peer)

    def name(self, section: str, label: str) -> str:
        """A key that the policy does not have yet."""
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", label, flags=re.ASCII).lstrip("_.-")[:LONGEST_NAME] or "unnamed"
        name, count = plain, 1
        while name in self.taken[section]:
            count += 1
            name = f"{plain[: LONGEST_NAME - 5]}-{count}"
        self.taken[section].add(name)
        return name

    def socket(self, way: Trip) -> impact.Socket:
        here = ipaddress.ip_address("0.0.0.0" if way.peer.version == 4 else "::")  # noqa: S104 - of no socket of ours
        return impact.Socket(way.protocol, 0, here, way.port, way.peer, way.port, way.account, "")

    def told(self, way: Trip, sight: Sight) -> str:
        """Who did it, how often, and when."""
        by = ", ".join(map(_process, list(sight.processes)[:3])) or ("?" if way.account else "")
        who = f"{way.source} (forwarded)" if way.source else way.account or "the kernel"
        names = self.seen.names.of(way.peer)
        peer = f"{'/'.join(names[-3:])} {way.peer}" if names else str(way.peer)
        where = f"{peer} on {way.protocol} {way.port}" if way.answer else f"{peer} {way.protocol} {way.port}"
        often = f"{sight.attempts} times" if sight.attempts > 1 else "once" if sight.attempts else "connected already"
        verb = "answered" if way.answer else "reached"
        span = " to ".join(dict.fromkeys((_moment(sight.first), _moment(sight.last))))
        return f"{who}{f' by {by}' if by else ''} {verb} {where} {often}, {span}"


def _process(process: Process) -> str:
    exe = process.exe if process.exe.rpartition("/")[2] != process.command else ""
    inside = ", ".join(filter(None, (exe, process.unit)))
    return f"{process.command} ({inside})" if inside else process.command


def _moment(at: float) -> str:
    return f"{datetime.datetime.fromtimestamp(at, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _few(told: Sequence[str]) -> tuple[str, ...]:
    more = len(told) - MOST_TOLD
    return (*told[:MOST_TOLD], f"and {more} more like it") if more > 0 else tuple(told)


def _parted(asked: frozenset[tuple[str, str, int]]) -> Iterator[tuple[list[str], str, list[int]]]:
    """What is asked as (accounts, protocol, ports), none of which allows more than was asked."""
    ports: dict[tuple[str, str], list[int]] = {}
    for account, protocol, port in sorted(asked):
        ports.setdefault((protocol, account), []).append(port)
    accounts: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for (protocol, account), of_account in ports.items():
        accounts.setdefault((protocol, tuple(of_account)), []).append(account)
    for (protocol, shared), users in accounts.items():
        yield users, protocol, list(shared)


def _network(peer: Address) -> str:
    return str(ipaddress.ip_network(peer))


def _quoted(peer: Address) -> str:
    return f'"{_network(peer)}"' if peer.version == 6 else _network(peer)
