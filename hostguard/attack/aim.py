"""The policy's own addresses and accounts for the cases: every sanctioned way must work, every other be held (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, replace

from hostguard.attack.case import Case, Holds, To, Who, case
from hostguard.attack.cases import CASES, requests
from hostguard.attack.cases.sockets import MPTCP
from hostguard.policy.destinations import ASKER, DNS, NTP, destinations, holds, leaving, reaches
from hostguard.policy.gateway import RUN, Gateway, Upstream
from hostguard.policy.grammar import Address, Network
from hostguard.policy.model import Egress

STRANGER = "nobody"
"""An account that no policy names; the rehearsal gives it to whoever is not a service."""
FOREIGN = "foreign.example"
"""Below it is no name of a policy: RFC 2606 keeps it from being anybody's."""
NAMED = "192.88.99.1"
"""Where every name leads to in the rehearsal's world: no private address, and nobody's any more (RFC 7526)."""
# Documentation and benchmark addresses that a policy may hold too: the first that it does not.
ENEMIES = ("198.51.100.66", "192.0.2.66", "198.18.66.66", "100.64.66.66")
ENEMIES_V6 = ("2001:db8:bad::66", "2001:db8:dead::66", "3fff:66::66")
ORDINARY = ("192.0.2.77", "2001:db8:77::77")
OF_GATEWAY = ("gateway", "requests")
"""Layers of what is aimed at the gateway, and leaves no host."""
ON_THE_LINK: dict[To, tuple[str, ...]] = {
    "broadcast": ("255.255.255.255",),
    "link-local": ("169.254.66.66", "fe80::66"),
    "metadata": ("169.254.169.254",),
    "mdns": ("224.0.0.251", "ff02::fb"),
    "ssdp": ("239.255.255.250", "ff02::c"),
    "site multicast": ("239.66.66.66", "ff05::66"),
    "global multicast": ("232.66.66.66", "ff0e::66"),
    "all hosts": ("224.0.0.1", "ff02::1"),
    "listeners": ("224.0.0.22", "ff02::16"),
    "vrrp": ("224.0.0.18", "ff02::12"),
}


@dataclass(frozen=True)
class Attempt:
    """One case, aimed. `sanctioned`: it must work; else it must be held; None: nothing here holds it, and it is shown.

    `account` is who tries (or, of an answer, nobody: the peer's address is `source`).
    """

    case: Case
    account: str
    address: str
    port: int
    sanctioned: bool | None = False
    source: str = ""
    by_account: bool = False
    """Held only because of who tries: with one account alone it can't be told from the sanctioned way."""

    @property
    def name(self) -> str:
        return self.case.tries

    @property
    def protocol(self) -> str:
        """As an allowlist has it; else what no allowlist has."""
        case = self.case
        if case.way in ("tcp", "udp"):
            return "tcp" if case.options.get("protocol") == MPTCP else "" if "protocol" in case.options else case.way
        if case.way in ("io_uring", "name"):
            return "tcp" if case.way == "name" else "udp"
        return str(case.options.get("of", "udp")) if case.way in ("header", "frame", "xdp", "tun") else ""


@dataclass(frozen=True)
class Link:
    """What only the host's own link says: its subnet's broadcast address, and the next hops."""

    broadcast: str = ""
    neighbours: tuple[str, ...] = ()


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
    found += [to.network for to in destinations(reaches(egress))]
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


def attempts(egress: Egress, link: Link = Link(), gateway: Gateway | None = None) -> list[Attempt]:
    """Everything to try, the sanctioned ways first; what the policy lets out after all is no way to be held."""
    everybody = {to.account for to in destinations(leaving(egress)) if to.account}
    held = []
    for attempt in unsanctioned(egress, link):
        if attempt.sanctioned is None or attempt.case.leg == "segments":
            held.append(attempt)  # to whom it is sent is sanctioned, and not where it goes
            continue
        if permits(egress, attempt, {attempt.account}):
            continue
        held.append(replace(attempt, by_account=permits(egress, attempt, everybody) and not attempt.case.leg))
    held = _each_once(held)
    through: list[Attempt] = []
    if gateway and gateway.manage:
        through, held = [*through_gateway(gateway)], held + at_gateway(gateway)
    # With NAT comes connection tracking: before it fragments are what they are, after it flows are tracked.
    found = [*sanctioned(egress), *through, *held]
    return sorted(found, key=lambda one: (one.case.layer == "flows", one.case.leg == "nat"))


def _each_once(found: Iterable[Attempt]) -> list[Attempt]:
    """Without those that are the same once they are aimed: under `via: direct` the proxy is an application like any."""
    kept: dict[tuple[object, ...], Attempt] = {}
    for one in found:
        case = one.case
        who = "any" if case.who in ("application", "proxy", "asker") else case.who
        options = tuple(sorted((key, str(value)) for key, value in case.options.items()))
        what = (case.way, case.leg, case.count, options, who, one.account, one.address, one.port, one.source)
        kept.setdefault(what, one)
    return list(kept.values())


def permits(egress: Egress, attempt: Attempt, accounts: Container[str]) -> bool:
    """Whether the policy lets one of some accounts (or every account) do this."""
    if not attempt.address or (attempt.case.who == "container" and egress.containers == "deny"):
        return False
    address = ipaddress.ip_address(attempt.address)
    return any(
        (to.account is None or to.account in accounts)
        and (to.protocol, to.port) == (attempt.protocol, attempt.port)
        and address in to.network
        for to in destinations(leaving(egress))
    )


def families(cidrs: tuple[Network, ...]) -> Iterator[str]:
    """One address of each family in a list of networks."""
    for version in (4, 6):
        for network in cidrs:
            if network.version == version:
                yield first(network)
                break


DOCUMENTATION = tuple(map(ipaddress.ip_network, ("198.51.100.0/24", "192.0.2.0/24", "2001:db8::/32", "3fff::/20")))


def harmless(egress: Egress, destinations: bool, gateway: Gateway | None = None) -> list[Attempt]:
    """What may be tried on a host in service: one small packet to a documentation address; with `destinations` also
    connections to what is sanctioned, by accounts for whom it is not."""

    def fits(attempt: Attempt) -> bool:
        case = attempt.case
        if attempt.sanctioned is not False or not case.harmless:
            return False
        if case.layer in OF_GATEWAY:
            return True
        if case.to == ("enemy",):
            return any(ipaddress.ip_address(attempt.address) in network for network in DOCUMENTATION)
        return destinations and case.way == "tcp" and case.to[0] in ("provider", "resolver")

    return [attempt for attempt in attempts(egress, gateway=gateway) if fits(attempt)]


def kept_back(egress: Egress, gateway: Gateway | None) -> dict[str, str]:
    """Ways in to the gateway that are not tried on a host in service, by their id, and why."""
    ours = (one.case for one in attempts(egress, gateway=gateway) if one.case.layer in OF_GATEWAY)
    why = {"requests": "the provider itself could be asked it", "gateway": "it takes a link of its own on the host"}
    kept = (each for each in ours if each.id and not each.harmless)
    return {each.id: why[each.layer] for each in kept}


def sanctioned(egress: Egress) -> Iterator[Attempt]:
    caller = proxy(egress)

    def way(name: str, protocol: str, account: str, address: str, port: int) -> Attempt:
        layer, who = "UDP" if protocol == "udp" else "TCP", "application"
        # mypy takes a literal that is assigned to a name for any text.
        return Attempt(case("", who, name, protocol, layer=layer), account, address, port, True)  # type: ignore[arg-type]

    for name, provider in egress.providers.items():
        for address in families(provider.cidrs):
            yield way(f"provider {name}", "tcp", caller, address, provider.ports[0])
            if egress.containers == "same" and egress.via == "direct":
                through = case(
                    "", "container", f"provider {name}, from a container", "tcp", layer="forwarded", leg="nat"
                )
                yield Attempt(through, "container", address, provider.ports[0], True)
        for host in provider.hosts[:1]:
            yield way(f"provider {name} by its name", "name", caller, one_of(host), provider.ports[0])
    for name, service in egress.services.items():
        user = (service.users or (STRANGER,))[0]
        for address in families(service.cidrs):
            yield way(f"service {name}", service.protocol, user, address, service.ports[0])
        for host in service.hosts[:1] if service.protocol == "tcp" else ():
            yield way(f"service {name} by its name", "name", user, one_of(host), service.ports[0])
    for resolver in egress.resolvers:
        yield way("DNS over UDP", "udp", asker(egress), str(resolver), DNS)
        yield way("DNS over TCP", "tcp", asker(egress), str(resolver), DNS)
    for server in egress.time_servers:
        yield way("time", "udp", STRANGER, str(server), NTP)
    for name, inbound in egress.inbound.items():
        if inbound.protocol == "tcp":
            for address in families(inbound.from_):
                answered = case("", "peer", f"answers {name}", "answer", layer="answers")
                yield Attempt(answered, STRANGER, "", inbound.ports[0], True, source=address)
    yield Attempt(case("", "application", "loopback", "loopback", layer="TCP"), STRANGER, "127.0.0.1", 9, True)


def through_gateway(g: Gateway) -> Iterator[Attempt]:
    """Each provider's port, by each account that may use it; and a request by the first of them."""
    for up in g.upstreams:
        for user in up.users if up.listen is not None else ():
            name = f"provider {up.name} through the gateway"
            yield Attempt(
                case("", "application", name, "local", layer="gateway"), user, g.address, up.listen or 0, True
            )
        for address, port in _listeners(g, up):
            name = f"a request to provider {up.name}" + ("" if port else ", by its socket")
            asked = case("", "user", name, "http", layer="requests", request="plain")
            yield _asking(asked, g, up, address, port, sanctioned=True)


def at_gateway(g: Gateway) -> list[Attempt]:
    """What the gateway keeps from all others, each of its ports and sockets; and what it keeps from who may use it."""
    found = []
    for each in (one for one in CASES if one.layer == "gateway"):
        for address, port, users in _doors(g, each.to[0]):
            account = _who(g, each.who, users)
            options = dict(each.options, of=g.account, doors=_ports(g)) if each.way == "admin" else each.options
            if account is not None and (each.who == "user" or account not in users):
                sanctioned = None if each.holds is Holds.NOTHING else False
                found.append(Attempt(replace(each, options=options), account, address, port, sanctioned,
                                     by_account=not each.leg))  # fmt: skip
    for each in (one for one in CASES if one.layer == "requests"):
        for up in g.upstreams[:1]:  # what is told of one is told of all
            address, port = next(_listeners(g, up))
            found.append(_asking(each, g, up, address, port, sanctioned=False))
    return found


def _who(g: Gateway, who: Who, users: tuple[str, ...]) -> str | None:
    """The account that tries a door of these users; None where the policy has no such."""
    if who == "neighbour":
        return next((user for up in g.upstreams for user in up.users if user not in users), None)
    if who == "user":
        return next((user for up in g.upstreams for user in up.users if user in users or g.account in users), None)
    return {"proxy": g.account, "root": "root"}.get(who, STRANGER)


def _asking(each: Case, g: Gateway, up: Upstream, address: str, port: int, *, sanctioned: bool) -> Attempt:
    others = (other.hosts[0] for other in g.upstreams if other.hosts[0] not in up.hosts)
    to = requests.Names(up.hosts[0], next(others, FOREIGN), f"{ENEMIES[0]}:{up.port}")
    text = requests.REQUESTS[each.options["request"]](to)
    options = {"text": text, "mark": requests.MARK, "own": to.own, "port": up.port, "provider": up.name}
    return Attempt(replace(each, options=options), up.users[0], address, port, sanctioned)


def _listeners(g: Gateway, up: Upstream) -> Iterator[tuple[str, int]]:
    if up.listen is not None:
        yield g.address, up.listen
    if up.group is not None:
        yield f"{RUN}/{up.name}/http.sock", 0


def _ports(g: Gateway) -> list[list[str | int]]:
    ports = [*(up.listen for up in g.upstreams), g.metrics_listen]
    return [[g.address, port] for port in ports if port is not None]


def _doors(g: Gateway, to: To) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Where it listens, and the accounts that may come in there."""
    if to == "port":
        yield from ((g.address, up.listen, up.users) for up in g.upstreams if up.listen is not None)
    elif to == "socket":
        yield from ((f"{RUN}/{up.name}/http.sock", 0, up.users) for up in g.upstreams if up.group is not None)
    elif to == "metrics" and g.metrics_listen is not None:
        yield g.address, g.metrics_listen, g.metrics_users
    elif to == "admin":
        yield g.admin, 0, (g.account,)


def proxy(egress: Egress) -> str:
    return egress.proxy_user if egress.via == "proxy" and egress.proxy_user else STRANGER


def one_of(host: str) -> str:
    """A name that a policy's name, or `*.` name, is about."""
    return host.replace("*", "any")


def looks_up(egress: Egress) -> str:
    """Who may ask for names, be it the resolvers or the host's own."""
    return (egress.resolver_users or (STRANGER,))[0]


def asker(egress: Egress) -> str:
    return ASKER if egress.hosts else (egress.resolver_users or (STRANGER,))[0]


def unsanctioned(egress: Egress, link: Link) -> Iterator[Attempt]:
    accounts: dict[Who, str] = {
        "application": STRANGER, "proxy": proxy(egress), "asker": asker(egress), "root": "root", "admin": "root",
        "container": "container", "peer": STRANGER,
    }  # fmt: skip
    for each in (fit for case_ in CASES if case_.layer not in OF_GATEWAY and (fit := _of_names(egress, case_))):
        for to in each.to:
            for address, port in aimed(egress, link, to, each):
                if (6 if ":" in address else 4) not in each.families:
                    continue
                sanctioned = None if each.holds is Holds.NOTHING else False
                # A policy may answer the whole world: then there is no stranger, and nobody to seem one.
                begun = each.way == "answer" or each.options.get("protocol") == "accepted"
                seems = str(each.options.get("of", "udp")) if each.options.get("reflected") else ""
                if answered(egress, address, port, each.options.get("protocol", "tcp") if begun else seems):
                    continue
                account = accounts["proxy" if each.leg == "segments" else each.who]
                if each.way == "question":
                    account = looks_up(egress)
                if begun:
                    yield Attempt(each, account, "", port, sanctioned, source=address)
                else:
                    yield Attempt(each, account, address, port, sanctioned)
    for name, service in egress.services.items():
        if service.users and service.cidrs:
            by_other = replace(_BY_OTHER, tries=f"service {name}, by another account", way=service.protocol)
            yield Attempt(by_other, STRANGER, first(service.cidrs[0]), service.ports[0])


def _of_names(egress: Egress, each: Case) -> Case | None:
    """A case with a name in the place of what it is of; None for one that this policy has no use for."""
    if each.layer != "names":
        return each
    if each.way != "question":
        return None if egress.hosts else each
    exact = [host for host in egress.hosts if not host.startswith("*.")]
    alone = [host for host in exact if not any(holds(other, f"below.{host}") for other in egress.hosts)]
    wildcards = [host.removeprefix("*.") for host in egress.hosts if host.startswith("*.")]
    of = {"foreign": [FOREIGN] if egress.hosts else [], "exact": alone, "wildcard": wildcards}[each.options["of"]]
    return replace(each, options={"below": of[0]}) if of else None


_BY_OTHER = next(case for case in CASES if case.id == "tcp.past-proxy")


def answered(egress: Egress, address: str, port: int, protocol: str) -> bool:
    caller = ipaddress.ip_address(address)
    return any(
        way.protocol == protocol and port in way.ports and any(caller in network for network in way.from_)
        for way in egress.inbound.values()
    )


def aimed(egress: Egress, link: Link, to: To, at: Case) -> Iterator[tuple[str, int]]:
    """The addresses of a target, and the port that is tried there."""
    if to == "enemy":
        for candidates in (ENEMIES, ENEMIES_V6):
            # Behind NAT a container seems the host: what connection tracking knows of the one would pass for the other.
            enemy = outside(egress, candidates[::-1] if at.leg == "nat" else candidates)
            if enemy:
                yield enemy, at.port
    elif to == "provider":
        for provider in [each for each in egress.providers.values() if each.cidrs][:1]:
            for address in families(provider.cidrs):
                yield address, provider.ports[0] if at.port == 443 else at.port
    elif to == "peer":
        for inbound in list(egress.inbound.values())[:1]:
            for address in families(inbound.from_):
                yield address, at.port
    elif to in ("resolver", "time server"):
        for server in (egress.resolvers if to == "resolver" else egress.time_servers)[:1]:
            yield str(server), at.port
    else:
        local = {"neighbour": link.neighbours, "subnet broadcast": tuple(filter(None, (link.broadcast,)))}
        for address in local[to] if to in local else ON_THE_LINK[to]:
            if outside(egress, (address,)):
                yield address, at.port
