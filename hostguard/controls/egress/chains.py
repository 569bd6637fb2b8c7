"""The chains of our own, and what stands in them, in the words that `iptables-save` itself uses.

Enforcing and observing have chains of different names: to go from one to the other is to make the one and give
back the other, policy included, and never to guess what the policy was.
"""

from __future__ import annotations

from hostguard.controls.egress import allowlist, names
from hostguard.controls.egress.allowlist import FAMILIES
from hostguard.host import nflog
from hostguard.host.kinds import ruleset
from hostguard.host.kinds.ruleset import GATEWAY
from hostguard.host.resource import Resource
from hostguard.policy.gateway import Gateway
from hostguard.policy.model import Egress

REPLY = "-m conntrack --ctstate ESTABLISHED --ctdir REPLY"
ORIGINAL = "-m conntrack --ctstate ESTABLISHED --ctdir ORIGINAL"
# What a stranger's packet can't fill the log with: ten lines a minute after the first twenty.
LIMIT = "-m limit --limit 10/min --limit-burst 20"
SOLICITATION, ADVERTISEMENT, ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT = 135, 136, 133, 134  # RFC 4861
# IPv6 header, message, and a link-layer address of InfiniBand's length: none of the kernel's own is longer, and what
# is sent to an address off the link carries no more than that.
LONGEST_NEIGHBOUR = 88
LISTENERS = (131, 132, 143)  # multicast listener reports, without which a switch may not forward the former
# What the host, as a router of its containers, says of their packets that are too long for the next link: without
# it path MTU discovery dies, and their connections with the first full packet.
TOO_BIG = {
    "ipv4": "-p icmp -m icmp --icmp-type 3/4 -m conntrack --ctstate RELATED",
    "ipv6": "-p ipv6-icmp -m icmp6 --icmpv6-type 2 -m conntrack --ctstate RELATED",
}
DENY, OBSERVE = "hostguard deny: ", "hostguard observe: "
# Either way a packet has one direction, or no connection at all, and matches one of the two.
ANSWER = "-m conntrack --ctdir REPLY"
NO_ANSWER = "-m conntrack --ctstate INVALID,NEW,RELATED,ESTABLISHED,UNTRACKED --ctdir ORIGINAL"


def chain(egress: Egress, hook: str) -> str:
    return f"HOSTGUARD-{hook}" if egress.mode == "enforce" else f"HOSTGUARD-OBSERVE-{hook}"


def log(prefix: str) -> str:
    return f'{LIMIT} -j LOG --log-prefix "{prefix}" --log-uid'


def tell(prefix: str) -> list[str]:
    """A few lines for the journal, and every packet for `hostguard watch` and `learn`: while neither listens, the
    kernel looks the group up and finds nobody."""
    told = f'-j NFLOG --nflog-prefix "{{}}" --nflog-group {nflog.GROUP}'
    heard = (f"{match} {told.format(prefix + kind)}" for match, kind in ((ANSWER, nflog.ANSWER), (NO_ANSWER, "")))
    return [log(prefix), *heard]


def match(set_name: str, directions: str) -> str:
    return f"-m set --match-set {set_name} {directions}"


def output(egress: Egress) -> list[Resource]:
    """What leaves the host itself."""
    enforcing = egress.mode == "enforce"
    sanctioned = "-j ACCEPT" if enforcing else "-j RETURN"
    end = [*tell(DENY), "-j DROP"] if enforcing else tell(OBSERVE)
    return [
        ruleset.resource(
            "egress.output",
            family,
            "OUTPUT",
            chain(egress, "OUTPUT"),
            [f"{rule} {sanctioned}" for rule in leaving(egress, family)] + end,
            policy="DROP" if enforcing else None,
            first=True,
        )
        for family in FAMILIES
    ]


def leaving(egress: Egress, family: str) -> list[str]:
    """The matches of every packet that the policy lets out, without their target."""
    # NAT may have sent it elsewhere since: the way out that a rule sees is still the one from before.
    rules = loopback(egress, family)
    if allowlist.inbound(egress, family):
        asked = match(allowlist.inbound_set(family), "dst,src")
        # A reply and nothing else: a packet from port 22 alone is a way out, and so is a reply to a stranger.
        rules.append(f"{REPLY} {asked}")
        # Connections older than connection tracking; a SYN would be one of our own making.
        held = match(allowlist.held_set(family), "dst,dst")
        rules.append(f"-p tcp {asked} {held} -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN")
    if allowlist.has_any(egress, family):
        rules.append(match(allowlist.any_set(family), "dst,dst"))
    for account in allowlist.accounts(egress, family):
        to = match(allowlist.account_set(family, account), "dst,dst")
        rules.append(f"-m owner --uid-owner ${{uid:{account}}} {to}")
        # The last packets of a closed connection have no socket, so no owner, any more.
        rules.append(f"-p tcp {ORIGINAL} -m owner ! --socket-exists {to}")
    for way in names.ports_of_names(egress):
        rules += by_name(way, family)
    if egress.containers == "same":
        rules.append(TOO_BIG[family])
    if family == "ipv6":
        rules += neighbours()
        rules += [f"-d ff02::/16 -p ipv6-icmp -m icmp6 --icmpv6-type {kind}" for kind in LISTENERS]
    return rules


def loopback(egress: Egress, family: str) -> list[str]:
    """What stays on the host; its own resolver is asked by who may ask resolvers alone."""
    local = "-o lo -m addrtype --dst-type LOCAL"
    if family == "ipv6" or not egress.hosts or not egress.resolver_users:
        return [local]
    asked = f"-d {names.ADDRESS}/32"
    return [f"! {asked} {local}", *(f"{asked} -o lo -m owner --uid-owner ${{uid:{u}}}" for u in egress.resolver_users)]


def by_name(way: names.PortsOfName, family: str) -> list[str]:
    """Connections that are open go on for longer than new ones may begin: a name that moves cuts nobody."""
    to = f"-p {way.protocol} -m multiport --dports {way.ports}"
    new, opened = (match(names.set_of(family, what, way.host), "dst") for what in (names.NEW, names.OPEN))
    owner = f"-m owner --uid-owner ${{uid:{way.account}}} " if way.account else ""
    rules = [f"{to} {ORIGINAL} {owner}{opened}", f"{to} {owner}{new}"]
    if way.account and way.protocol == "tcp":
        rules.append(f"{to} {ORIGINAL} -m owner ! --socket-exists {opened}")
    return rules


def neighbours() -> list[str]:
    """What finds the neighbours. The hop limit of 255 proves something to who receives it alone: a packet that leaves
    with it is routed like any other, so its length is bounded, and routers are asked for on the link only."""
    asked = f"-m hl --hl-eq 255 -m length --length 40:{LONGEST_NEIGHBOUR}"
    found = [f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} {asked}" for kind in (SOLICITATION, ADVERTISEMENT)]
    return [*found, f"-d ff02::2/128 -p ipv6-icmp -m icmp6 --icmpv6-type {ROUTER_SOLICITATION} -m hl --hl-eq 255"]


def neighbours_in() -> list[str]:
    # A hop limit of 255 has passed no router (RFC 4861, 7.1).
    kinds = (SOLICITATION, ADVERTISEMENT, ROUTER_ADVERTISEMENT)
    return [f"-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -m hl --hl-eq 255" for kind in kinds]


def forward(egress: Egress) -> list[Resource]:
    """What containers send through the host. What may pass is returned to other tools' rules, not accepted.

    In mangle, where no container engine accepts anything: in filter Docker puts its own rules first at every start.
    NAT has chosen the destination before either.
    """
    enforcing = egress.mode == "enforce"
    found = []
    for family in FAMILIES:
        rules = [f"{rule} -j RETURN" for rule in passing(egress, family)] if egress.containers == "same" else []
        rules += [*tell(DENY), "-j DROP"] if enforcing else tell(OBSERVE)
        name = chain(egress, "FORWARD")
        found.append(
            ruleset.resource("egress.forward", family, "FORWARD", name, rules, None, first=True, table="mangle")
        )
    return found


def passing(egress: Egress, family: str) -> list[str]:
    icmp = "icmp" if family == "ipv4" else "ipv6-icmp"
    # The errors that belong to a tracked connection: without them path MTU discovery dies behind a tunnel.
    rules = [REPLY, f"-p {icmp} -m conntrack --ctstate RELATED"]
    if allowlist.has_any(egress, family):
        rules.append(match(allowlist.any_set(family), "dst,dst"))
    for way in names.ports_of_names(egress):
        rules += by_name(way, family) if way.account is None else []
    if allowlist.inbound(egress, family):
        # Published ports are translated, and what a container sends is not: without that condition a sanctioned
        # inbound port, open to the world, would be every container's way out to that port.
        rules.append(f"-m conntrack --ctstate DNAT {match(allowlist.inbound_set(family), 'src,dst')}")
    return rules


def replies(egress: Egress) -> list[Resource]:
    """What comes back in, on a host where another tool's INPUT drops: nothing that we did not ask for."""
    found = []
    for family in FAMILIES:
        icmp = "icmp" if family == "ipv4" else "ipv6-icmp"
        rules = [f"{REPLY} -j ACCEPT", f"-p {icmp} -m conntrack --ctstate RELATED -j ACCEPT"]
        if family == "ipv6":
            rules += [f"{rule} -j ACCEPT" for rule in neighbours_in()]
        found.append(
            ruleset.resource("egress.replies", family, "INPUT", chain(egress, "INPUT"), rules, None, first=False)
        )
    return found


def gateway(behind: Gateway) -> list[Resource]:
    """Who reaches the gateway's ports. What is not refused goes on to the chains of others, and to ours.

    Under `observe` too: nobody used this address before, so that nobody is cut off, and the sockets' folders refuse no
    less. IPv4 alone, as the address is. Refused and not dropped: who may not must not wait for a time-out.
    """
    allowed = [(up.listen, user) for up in behind.upstreams if up.listen is not None for user in up.users]
    if behind.metrics_listen is not None:
        allowed += [(behind.metrics_listen, user) for user in behind.metrics_users]
    if not allowed or not behind.manage:
        return []
    here = f"-d {behind.address}/32"
    rules = [
        f"! {here} -j RETURN",
        *(f"-p tcp -m tcp --dport {at} -m owner --uid-owner ${{uid:{user}}} -j RETURN" for at, user in allowed),
        # The last packets of a closed connection have no socket, so no owner, any more.
        f"-p tcp {ORIGINAL} -m owner ! --socket-exists -j RETURN",
        *tell(DENY),
        "-j REJECT --reject-with icmp-admin-prohibited",
    ]
    # Where route_localnet is set, as kube-proxy sets it, whoever is on the link or in a container can send to 127/8
    # (CVE-2020-8558), and so can DNAT: neither passes OUTPUT.
    within = [f"{here} ! -i lo -j DROP"]
    control = "gateway.separation"
    return [
        ruleset.resource(control, "ipv4", "OUTPUT", GATEWAY, rules, policy=None, first=True),
        ruleset.resource(control, "ipv4", "INPUT", GATEWAY, within, policy=None, first=True, table="mangle"),
    ]
