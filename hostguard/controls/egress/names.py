"""What the host may reach by its name: dnsmasq is the host's resolver, asks for these names alone, and puts every
address that it is told into the kernel's sets before the asker hears of it.

A name has two sets a family. NEW lets connections begin, OPEN lets those that are open go on when the name has moved
away from their address. An address leaves a set when its time is over, counted anew from each answer of a resolver;
answers out of dnsmasq's own cache count for nothing, so what is cached must end well before. Taken out of the policy,
a name loses its sets and rules at once, and with them its connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hostguard.controls import mark
from hostguard.controls.egress import allowlist
from hostguard.controls.text import render
from hostguard.host.kinds import file, ipset, lookup, unit
from hostguard.host.names import UNIT
from hostguard.host.resource import Resource
from hostguard.host.store import BOOT_RULES as FOLDER
from hostguard.host.store import BOOT_UNIT
from hostguard.policy.destinations import ASKER, holds, named_reaches
from hostguard.policy.model import Egress

CONTROL = "egress.names"
CONFIGURATION = f"{FOLDER}/names.conf"
MARK = "/etc/hostguard/names.mark"
"""Not in `FOLDER`: what is there goes back early in a boot, and the unit later."""
ADDRESS = "127.0.0.83"
"""Its own: who may ask it is held by this address, and nobody else listens there."""
NEW, OPEN = "NEW", "OPEN"
LONGEST_TTL = 300
"""Seconds that a client, or the cache, keeps an answer; a shorter TTL of the answer's own counts."""
GRACE = 3600
"""Seconds that an address stays good beyond that, for programs that keep it; Cilium's tofqdns-min-ttl was an hour."""
TIMEOUT = {NEW: LONGEST_TTL + GRACE, OPEN: 2_147_483}
"""Seconds; the longest that ipset knows is IPSET_MAX_TIMEOUT in linux/netfilter/ipset/ip_set.h."""
MOST_PORTS = 15  # XT_MULTI_PORTS in linux/netfilter/xt_multiport.h


@dataclass(frozen=True)
class PortsOfName:
    """A name, who may reach it, and on which ports (as iptables writes them); `account` None is everybody."""

    host: str
    account: str | None
    protocol: str
    ports: str


def ports_of_names(egress: Egress) -> Iterator[PortsOfName]:
    ports: dict[tuple[str, str | None, str], set[int]] = {}
    for to in named_reaches(egress):
        ports.setdefault((to.host, to.account, to.protocol), set()).add(to.port)
    for (host, account, protocol), of in sorted(ports.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        ordered = sorted(of)
        for at in range(0, len(ordered), MOST_PORTS):
            yield PortsOfName(host, account, protocol, ",".join(map(str, ordered[at : at + MOST_PORTS])))


def set_of(family: str, what: str, host: str) -> str:
    # No account has capital letters, and no name has: "ALL" stands for the star, which a shell would heed.
    return allowlist.name(family, f"{what}-{host.replace('*', 'ALL')}")


def sets(egress: Egress) -> list[Resource]:
    """Empty when they are made, and filled by answers."""
    return [
        ipset.resource(CONTROL, family, set_of(family, what, host), "hash:ip", [], timeout=TIMEOUT[what])
        for host in egress.hosts
        for family in allowlist.FAMILIES
        for what in (NEW, OPEN)
    ]


def names(egress: Egress) -> list[Resource]:
    """The host's resolver and what leads to it; nothing where the policy has no names."""
    if not egress.hosts:
        return []
    content, made = configuration(egress), ipset.script(sets(egress))
    service = render("names.service.j2", folder=FOLDER, account=ASKER, address=ADDRESS, mark=MARK, rules=BOOT_UNIT)
    files = {CONFIGURATION: content, f"{FOLDER}/names.sets": made, f"/etc/systemd/system/{UNIT}": service}
    started = mark.of(files.values())
    leads_here = render("resolv.conf.j2", address=ADDRESS, mark=started[:8], search=egress.search)
    asker = f"${{uid:{egress.resolver_users[0]}}}" if egress.resolver_users else ""
    asked = [host for host in egress.hosts if not host.startswith("*.")]
    return [
        mark.resource(CONTROL, MARK, files),
        file.resource(CONTROL, CONFIGURATION, content, check=["${program:dnsmasq}", "--test", "--conf-file={}"]),
        file.resource(CONTROL, f"{FOLDER}/names.sets", made),
        file.resource(CONTROL, f"/etc/systemd/system/{UNIT}", service),
        unit.resource(
            CONTROL, UNIT, {}, ours=True, enabled=True, active=True, asks_for=["nss-lookup.target"], mark=started
        ),
        lookup.resource(CONTROL, "/etc/resolv.conf", leads_here, asked, asker),
        *sets(egress),
    ]


def configuration(egress: Egress) -> str:
    """dnsmasq's. What the policy does not name is answered with NXDOMAIN, and no resolver hears of it; only under
    `observe` everything is asked, and logged."""
    exact = [host for host in egress.hosts if not host.startswith("*.")]
    return render(
        "names.conf.j2",
        address=ADDRESS,
        longest_ttl=LONGEST_TTL,
        hosts=egress.hosts,
        resolvers=[str(resolver) for resolver in egress.resolvers],
        filled={domain: _filled(egress, domain) for domain in sorted({h.removeprefix("*.") for h in egress.hosts})},
        alone=[host for host in exact if not any(holds(other, f"below.{host}") for other in egress.hosts)],
        inside=sorted({h.removeprefix("*.") for service in egress.services.values() for h in service.hosts}),
        observe=egress.mode == "observe",
    )


def _filled(egress: Egress, domain: str) -> list[str]:
    """The sets that an answer for a domain, or for a name below it that has no line of its own, goes into."""
    named = [host for host in egress.hosts if host.removeprefix("*.") == domain or holds(host, domain)]
    return [set_of(family, what, host) for host in named for family in allowlist.FAMILIES for what in (NEW, OPEN)]
