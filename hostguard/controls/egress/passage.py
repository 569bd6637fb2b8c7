"""What other tools do to the packets of a sanctioned way: a rule that drops them, sends them elsewhere or takes them
out of connection tracking, and a route that leads nowhere. Read, never changed: who is right is yours to say.

Each way is walked through the rules as the kernel walks a packet through them. What a rule asks for may cover all of a
way, some of it, or none. Only what certainly meets all of it is told: a set, a mark or a rate may let it past.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hostguard.control import Context, Verdict
from hostguard.controls.egress.allowlist import NETWORK
from hostguard.controls.egress.foreign import OF_A_CLIENT, Chain, Covers, Packet, Rule, as_if_applied, chains_of
from hostguard.host import proc_net
from hostguard.host.kinds.ruleset import GATEWAY
from hostguard.policy.destinations import DNS, leaving
from hostguard.policy.grammar import Network
from hostguard.policy.model import Egress

MOST_TRIED = 64
"""Packets a family that are walked through the rules, and routes that are asked for."""
EXPECTED = "no rule and no route of another tool takes a sanctioned way away"
OURS, OBSERVING = "HOSTGUARD-", "HOSTGUARD-OBSERVE-"
# The chains that a packet passes on its way, and the replies to it, in order. Where NAT is done, a first packet passes.
OUT, IN = ("output", "postrouting"), ("prerouting", "input")
NO_ROUTE = {
    "EHOSTUNREACH": "a route says unreachable",
    "EACCES": "a route or a rule of routing says prohibit",
    "EINVAL": "a route or a rule of routing says blackhole",
}
"""What RTM_GETROUTE answers where a route refuses (fib_props in net/ipv4/fib_semantics.c, fib6_prop in net/ipv6).
ENETUNREACH is none of them: a host without IPv6 has no route to it."""


@dataclass(frozen=True)
class Sanctioned:
    """One way of the policy: `inbound` where others connect in. `name` is its key."""

    name: str
    network: Network
    protocol: str
    port: int
    account: str | None
    inbound: bool = False

    @property
    def family(self) -> str:
        return f"ipv{self.network.version}"

    def request(self, uids: Mapping[str, int | None]) -> Packet:
        there = Packet(
            self.family, self.protocol, not self.inbound, from_port=OF_A_CLIENT, to_port=(self.port, self.port)
        )
        if self.inbound:
            return replace(there, source=self.network)
        uid = uids.get(self.account) if self.account else None
        return replace(there, destination=self.network, uid=None if uid is None else (uid, uid))

    def reply(self) -> Packet:
        back = Packet(self.family, self.protocol, self.inbound, from_port=(self.port, self.port), to_port=OF_A_CLIENT,
                      state="ESTABLISHED")  # fmt: skip
        return replace(back, destination=self.network) if self.inbound else replace(back, source=self.network)


def sanctioned(egress: Egress) -> Iterator[list[Sanctioned]]:
    """Everything that must get through, a list for each way and family: no longer than is walked, since there may be
    100,000 networks. Of names the addresses are nobody's to know here."""
    for name, who in egress.inbound.items():
        for port in who.ports:
            for networks in _by_family(who.from_):
                yield [Sanctioned(f"inbound.{name}", each, who.protocol, port, None, inbound=True) for each in networks]
    for way in leaving(egress):
        name = ".".join(map(str, way.path[1:3]))
        for networks in _by_family(way.networks):
            yield [Sanctioned(name, each, way.protocol, way.port, way.account) for each in networks]


def _by_family(networks: Sequence[Network]) -> Iterator[list[Network]]:
    for kind in NETWORK.values():
        yield list(itertools.islice((each for each in networks if isinstance(each, kind)), MOST_TRIED))


def tried(egress: Egress) -> list[Sanctioned]:
    """As many of them as are walked: of each way the first network first."""
    ways = [way for way in sanctioned(egress) if way]
    found: list[Sanctioned] = []
    for family in NETWORK:
        of_family = [way for way in ways if way[0].family == family]
        turns = itertools.zip_longest(*of_family)
        found += itertools.islice((each for turn in turns for each in turn if each), MOST_TRIED)
    return found


def asks(context: Context) -> Mapping[str, Any]:
    egress = context.policy.egress
    if egress is None:
        raise ValueError("the policy has no section `egress`: its controls must not be asked")
    ways = [way for way in tried(egress) if not way.inbound]
    to = [[str(way.network.network_address), way.protocol, way.port, way.account or ""] for way in ways]
    return {
        "rules": {"collect": "rules"},
        "routes": {"collect": "routes", "to": to},
        "lookup": {"collect": "text", "path": "/etc/resolv.conf"},
        "listeners": {"collect": "listeners"},
        "settings": {"collect": "texts", "patterns": sorted({broker.file for broker in BROKERS})},
        "brokers": {"collect": "unix-listeners", "paths": [path for broker in BROKERS for path in broker.sockets]},
    }


def judges(context: Context, said: Mapping[str, Any]) -> Verdict:
    assert context.policy.egress is not None  # noqa: S101 - `asks` saw to it
    ways = tried(context.policy.egress)
    # One that the host has not is told by the rules that name it.
    uids = {way.account: said["routes"]["uids"][way.account] for way in ways if way.account}
    found = dict.fromkeys(
        [
            *_by_rules(ways, said["rules"], uids),
            *_by_routes(ways, said["routes"]["found"]),
            *_by_a_resolver(context.policy.egress, said["lookup"] or "", said["listeners"], uids),
            *_by_a_broker(context.policy.egress, said["settings"], said["brokers"]),
        ]
    )
    if found:
        return Verdict("fail", EXPECTED, "; ".join(found))
    return Verdict("pass", EXPECTED, f"{len(ways)} ways, and none meets such a rule or route")


@dataclass(frozen=True)
class Broker:
    """A program that the C library asks for names by a socket, before it asks anybody itself: where `file` says so."""

    name: str
    sockets: tuple[str, ...]
    file: str
    says: str
    without: str


RESOLVED = "systemd-resolved"
BROKERS = (
    Broker("nscd", ("/run/nscd/socket", "/var/run/nscd/socket"), "/etc/nscd.conf",
           r"^[ \t]*enable-cache[ \t]+hosts[ \t]+yes\b", "let it keep no hosts (`enable-cache hosts no`)"),
    # Where it may pass the question on, whoever asks is asked for himself in the end.
    Broker(RESOLVED, ("/run/systemd/resolve/io.systemd.Resolve",), "/etc/nsswitch.conf",
           r"^[ \t]*hosts:[^#\n]*\bresolve\b(?:[ \t]*\[!UNAVAIL=return\]|(?![^#\n]*\bdns\b))",
           "take `resolve` out there"),
)  # fmt: skip
NAME_IT = "and it is none of egress.resolver_users: no name is looked up. Name it there, leave resolver_users out"


def _by_a_broker(
    egress: Egress, settings: Mapping[str, str | None], answering: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Asked by a socket, it asks in its own name, whoever wants to know."""
    if egress.resolver_users is None or not egress.resolvers:
        return
    for broker in BROKERS:
        if broker.name == RESOLVED and egress.hosts:
            continue  # egress.stale-names says that nobody may ask it
        if not re.search(broker.says, settings.get(broker.file) or "", re.MULTILINE):
            continue
        accounts = {account for path in broker.sockets for account in answering.get(path, ())}
        for account in sorted(accounts - set(egress.resolver_users)):
            yield f"{broker.name} asks for everybody as {account} ({broker.file}), {NAME_IT}, or {broker.without}"


def _by_a_resolver(
    egress: Egress, resolv_conf: str, listeners: Mapping[str, str | None], uids: Mapping[str, int | None]
) -> Iterator[str]:
    """A resolver on the host that asks in the name of all (systemd-resolved's stub, unbound, dnsmasq): the rules see
    its account, whoever asked it. The first that is named is asked first."""
    asked = re.search(r"^[ \t]*nameserver[ \t]+([0-9a-fA-F:.]+)(?:\s|$)", resolv_conf, re.MULTILINE)
    if egress.resolver_users is None or egress.hosts or not asked or not egress.resolvers:
        return
    may_ask = {uids.get(account) for account in egress.resolver_users}
    uid = next(who_listens(asked[1], "udp", DNS, listeners), None)
    if uid is not None and uid not in may_ask:
        yield f"/etc/resolv.conf leads lookups to {asked[1]}, where the account {uid} asks for everybody, {NAME_IT}"


def who_listens(text: str, protocol: str, port: int, listeners: Mapping[str, str | None]) -> Iterator[int]:
    """The accounts that listen there: on the address itself, which is this host's then, else on every one."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return
    places = [address]
    if address.is_loopback:
        places.append(ipaddress.ip_address("0.0.0.0" if address.version == 4 else "::"))  # noqa: S104 - of no socket of ours
    if address.version == 4:  # a socket of IPv6 has both families unless it says otherwise
        places.append(ipaddress.ip_address(f"::ffff:{address}"))
        places += [ipaddress.ip_address("::")] if address.is_loopback else []
    for place in places:
        table = listeners[protocol if place.version == 4 else f"{protocol}6"] or ""
        there = f"{proc_net.listed(place.packed)}:{port:04X}"
        yield from (
            row.uid
            for row in proc_net.rows(table)
            if row.place == there and (protocol == "udp" or row.state == proc_net.LISTEN)
        )


def _by_routes(ways: Iterable[Sanctioned], routes: Iterable[str]) -> Iterator[str]:
    for way, answer in zip((way for way in ways if not way.inbound), routes, strict=True):
        if answer in NO_ROUTE:
            yield f"{NO_ROUTE[answer]}: {way.name} ({way.network}) is not reached"


def _by_rules(ways: Iterable[Sanctioned], rules: Mapping[str, Any], uids: Mapping[str, int | None]) -> Iterator[str]:
    for family in NETWORK:
        chains = tuple(map(as_if_applied, chains_of(family, rules)))
        if not any(_matters(chain) for chain in chains):
            continue
        for way in ways:
            if way.family == family:
                yield from _of_way(way, chains, uids)


def _matters(chain: Chain) -> bool:
    return chain.policy == "drop" or any(rule.does in ("drop", "elsewhere", "notrack") for rule in chain.rules)


def _of_way(way: Sanctioned, chains: tuple[Chain, ...], uids: Mapping[str, int | None]) -> Iterator[str]:
    """What keeps a way from working, at the first place where it is met."""
    request, reply = way.request(uids), way.reply()
    tracked = True
    for packet, hooks in ((request, IN if way.inbound else OUT), (reply, OUT if way.inbound else IN)):
        for hook in hooks:
            for base in (chain for chain in chains if chain.hook == hook):
                walk = Walk(base, chains)
                end = walk.through(base, packet if tracked else replace(packet, state="UNTRACKED"))
                if walk.untracked:
                    tracked = False
                    if way.inbound or (way.account and way.protocol == "tcp"):
                        yield f"{walk.untracked} takes {way.name} out of connection tracking: {_lost(way)}"
                        return
                if end.does in ("drop", "elsewhere"):
                    what = "is dropped" if end.does == "drop" else "is sent elsewhere"
                    which = "a reply of " if packet is reply else ""
                    yield f"{end.text}: {which}{way.name} {what}"
                    return


def _lost(way: Sanctioned) -> str:
    return "nobody there is answered" if way.inbound else "the last packets of its connections are held"


class Walk:
    """One packet's way through a base chain. `untracked`: the rule that took it out of tracking."""

    def __init__(self, base: Chain, chains: tuple[Chain, ...]) -> None:
        self.inside = {chain.name: chain for chain in chains if chain.table == base.table}
        self.untracked, self.let_past = "", False

    def through(self, chain: Chain, packet: Packet, above: tuple[str, ...] = (), *, all_of_it: bool = True) -> Rule:
        """Where it ends: a rule that drops it, sends it elsewhere or accepts it, or one that says `on` at the end.
        `all_of_it`: whether all of these packets have come here."""
        for rule in chain.rules:
            covers = rule.covers(packet)
            if covers is Covers.NO or rule.does == "on":
                continue
            everything = all_of_it and covers is Covers.ALL
            if rule.does == "notrack":
                self.untracked = self.untracked or (rule.text if everything else "")
            elif rule.does in ("jump", "goto"):
                end = self._into(rule, packet, (*above, chain.name), all_of_it=everything)
                if covers is Covers.ALL and end.does != "on":
                    return end
                if covers is Covers.ALL and rule.does == "goto":
                    break  # it comes back one chain further up
                self.let_past |= covers is Covers.SOME and (end.does == "accept" or rule.does == "goto")
            elif covers is Covers.SOME or rule.does == "unknown":
                self.let_past |= rule.does in ("accept", "return", "unknown")
            elif rule.does == "return":
                break
            else:
                return self._certain(rule)
        if not above and chain.policy == "drop":
            return self._certain(Rule(f"{chain.title}'s policy", (), "drop"))
        return END

    def _into(self, rule: Rule, packet: Packet, above: tuple[str, ...], *, all_of_it: bool) -> Rule:
        if rule.chain == GATEWAY:
            return END  # what is sanctioned leaves for other addresses
        if rule.chain.startswith(OURS):
            # What comes in is accepted where it answers us; what leaves, where the policy names it.
            ours = not rule.chain.startswith(OBSERVING) and (packet.leaves or packet.state == "ESTABLISHED")
            return replace(END, does="accept") if ours else END
        inside = self.inside.get(rule.chain)
        if inside is None or rule.chain in above:
            return END
        return self.through(inside, packet, above, all_of_it=all_of_it)

    def _certain(self, rule: Rule) -> Rule:
        return END if self.let_past and rule.does != "accept" else rule


END = Rule("", (), "on")
