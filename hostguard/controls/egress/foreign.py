"""The rules of a host as packets meet them, those of iptables and of nft in one form (pure).

Of what a rule asks for, addresses, ports, protocols, devices, accounts, states, TCP flags and sets are understood. All
else may hold or not: it covers some of every packet.
"""

from __future__ import annotations

import enum
import ipaddress
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hostguard.host.iptables import UNSHOWN
from hostguard.host.kinds.ruleset import GATEWAY
from hostguard.policy.grammar import Network

Does = Literal["drop", "accept", "return", "notrack", "elsewhere", "jump", "goto", "on", "unknown"]
HOOKS = {"OUTPUT": "output", "POSTROUTING": "postrouting", "PREROUTING": "prerouting", "INPUT": "input"}
# Chains that are walked, of a table of iptables. What NAT does to who connects in is how a container is reached.
WALKED = {
    "raw": ("OUTPUT", "PREROUTING"),
    "mangle": ("OUTPUT", "POSTROUTING", "PREROUTING", "INPUT"),
    "nat": ("OUTPUT",),
    "filter": ("OUTPUT", "INPUT"),
    "security": ("OUTPUT", "INPUT"),
}
Span = tuple[int, int]
"""From a number to a number, both of them in it."""
EVERY_PORT: Span = (0, 65535)
EVERY_ADDRESS = {4: 2**32 - 1, 6: 2**128 - 1}
OF_A_CLIENT: Span = (1024, 65535)
"""What a client's own port may be: the kernel gives none below 1024 (ip_local_port_range)."""


class Covers(enum.IntEnum):
    """How much of a packet's kind a rule is about."""

    NO = 0
    SOME = 1
    ALL = 2


@dataclass(frozen=True)
class Packet:
    """Packets of one kind; what is None may be anything, and so may a state or direction of ""."""

    family: str
    protocol: str
    leaves: bool
    source: Network | None = None
    destination: Network | None = None
    from_port: Span | None = None
    to_port: Span | None = None
    uid: Span | None = None
    state: str = "NEW"
    direction: str = ""
    """ORIGINAL or REPLY: of who began the connection, or of who answers."""
    flags: frozenset[str] | None = None
    socket: bool | None = None
    """Whether it has a socket on this host."""
    to_us: bool = False
    """Whether its destination is an address of this host."""
    devices: tuple[str, str] | None = None
    """Where it came in and where it goes out, "" for none. None: some device that is not the loopback's."""
    sets: Mapping[str, bool] = field(default_factory=dict)
    """Whether it is in a set, by the set's name and the directions that a rule asks for: `NAME dst,dst`."""


@dataclass(frozen=True)
class Match:
    """One thing that a rule asks for. `values` are addresses, pairs of numbers, or words, by the field."""

    field: str
    values: tuple[Any, ...] = ()
    negated: bool = False

    def covers(self, packet: Packet) -> Covers:
        found = self._plainly(packet)
        return Covers(Covers.ALL - found) if self.negated else found

    def _plainly(self, packet: Packet) -> Covers:
        if self.field in ("source", "destination"):
            return _networks(getattr(packet, self.field), self.values)
        if self.field in ("from_port", "to_port", "uid"):
            return _numbers(getattr(packet, self.field), self.values)
        if self.field in ("protocol", "family", "state", "direction"):
            seen = getattr(packet, self.field)
            return _whether({seen, "all"} & set(self.values)) if seen else Covers.SOME
        if self.field in DEVICES:
            return _device(packet, DEVICES.index(self.field), self.values)
        if self.field == "source is local":
            return _whether(packet.leaves)
        if self.field == "destination is local":
            return _whether(packet.to_us or not packet.leaves)
        if self.field == "set" and self.values[0] in packet.sets:
            return _whether(packet.sets[self.values[0]])
        if self.field == "flags" and packet.flags is not None:
            asked, wanted = self.values
            return _whether(packet.flags & asked == wanted)
        if self.field == "socket" and packet.socket is not None:
            return _whether(packet.socket)
        return Covers.SOME


DEVICES = ("in device", "out device")


def _whether(holds: object) -> Covers:
    return Covers.ALL if holds else Covers.NO


def _device(packet: Packet, at: int, values: Sequence[str]) -> Covers:
    if packet.devices is None:  # no sanctioned way is one of the loopback's
        return {"lo": Covers.NO, "+": Covers.ALL, "*": Covers.ALL}.get(",".join(values), Covers.SOME)
    name = packet.devices[at]
    return _whether(any(each == name or (each[-1:] in ("+", "*") and name.startswith(each[:-1])) for each in values))


def _networks(seen: Network | None, values: Sequence[tuple[int, int, int]]) -> Covers:
    """`values` are versions with the first and the last address: numbers, since networks are slow to compare."""
    if any(low == 0 and high == EVERY_ADDRESS[version] for version, low, high in values):
        return Covers.ALL
    if seen is None:
        return Covers.SOME
    first, last = int(seen.network_address), int(seen.broadcast_address)
    found = Covers.NO
    for version, low, high in values:
        if version == seen.version and low <= last and first <= high:
            if low <= first and last <= high:
                return Covers.ALL
            found = Covers.SOME
    return found


def _addresses(network: Network) -> tuple[int, int, int]:
    return network.version, int(network.network_address), int(network.broadcast_address)


def _numbers(seen: Span | None, values: Sequence[Span]) -> Covers:
    if EVERY_PORT in values:
        return Covers.ALL
    if seen is None:
        return Covers.SOME
    if any(low <= seen[0] and seen[1] <= high for low, high in values):
        return Covers.ALL
    return Covers.SOME if any(low <= seen[1] and seen[0] <= high for low, high in values) else Covers.NO


@dataclass(frozen=True)
class Rule:
    """A rule as its own tool writes it, what it asks for, what it does, and the chain that it leads to."""

    text: str
    matches: tuple[Match, ...]
    does: Does
    chain: str = ""

    def covers(self, packet: Packet) -> Covers:
        found = Covers.ALL
        for match in self.matches:
            found = min(found, match.covers(packet))
            if found is Covers.NO:
                break
        return found


@dataclass(frozen=True)
class Chain:
    """A chain of one table. `hook` is "" for one that others lead to; `policy` "drop" or ""."""

    table: str
    name: str
    hook: str
    policy: str
    rules: tuple[Rule, ...]
    priority: int = 0
    """Of two that have the same hook a packet passes that of the lower one first."""

    @property
    def title(self) -> str:
        return f"{self.table} {self.name}"


def chains_of(family: str, said: Mapping[str, Any]) -> tuple[Chain, ...]:
    """All chains that packets of a family pass."""
    return (*_iptables(said["iptables"][family] or {}), *_nft(family, said["nft"]))


# iptables


def _iptables(tables: Mapping[str, Any]) -> Iterator[Chain]:
    for table, parsed in tables.items():
        for name, rules in parsed["rules"].items():
            hook = HOOKS[name] if name in WALKED.get(table, ()) else ""
            policy = "drop" if parsed["policies"].get(name) == "DROP" else ""
            read = tuple(_of_iptables(f"{table} {name}", rule) for rule in rules)
            yield Chain(table, name, hook, policy, read, PRIORITY.get(table, 0))


PRIORITY = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}  # linux/netfilter_ipv4.h


def as_if_applied(chain: Chain) -> Chain:
    """As it will be once hostguard's own chain comes first: what stands behind that is met by nothing sanctioned."""
    if (chain.table, chain.name) != ("filter", "OUTPUT"):
        return chain
    ours = (at for at, r in enumerate(chain.rules) if r.chain.startswith("HOSTGUARD-") and r.chain != GATEWAY)
    return replace(chain, policy="", rules=chain.rules[: next(ours, -1) + 1])


TARGETS: dict[str, Does] = {
    "DROP": "drop", "REJECT": "drop", "ACCEPT": "accept", "RETURN": "return", "NOTRACK": "notrack", "DNAT": "elsewhere",
    "REDIRECT": "elsewhere", "NETMAP": "elsewhere", "TPROXY": "elsewhere", "NFQUEUE": "unknown", "QUEUE": "unknown",
    "SYNPROXY": "unknown",
}  # fmt: skip
# After these a packet goes on. What is in neither is a chain.
GOES_ON = (
    "AUDIT", "CHECKSUM", "CLASSIFY", "CLUSTERIP", "CONNMARK", "CONNSECMARK", "CT", "DSCP", "ECN", "HL", "HMARK",
    "IDLETIMER", "LED", "LOG", "MARK", "MASQUERADE", "NFLOG", "RATEEST", "SECMARK", "SET", "SNAT", "TCPMSS",
    "TCPOPTSTRIP", "TEE", "TOS", "TRACE", "TTL", "ULOG",
)  # fmt: skip
MODULES = ("tcp", "udp", "comment", "conntrack", "state", "multiport", "owner", "addrtype", "set")
"""Those of which every option is known, or makes the rule one that covers some."""
FIELDS = {
    "-s": "source", "--source": "source", "-d": "destination", "--destination": "destination", "-p": "protocol",
    "--protocol": "protocol", "-i": "in device", "-o": "out device", "--sport": "from_port", "--dport": "to_port",
    "--sports": "from_port", "--dports": "to_port", "--uid-owner": "uid", "--ctstate": "state", "--state": "state",
    "--dst-type": "destination is local", "--src-type": "source is local", "--ctdir": "direction",
}  # fmt: skip
OF_TWO = {"--match-set": "set", "--tcp-flags": "flags"}
"""Options with two values."""


def _of_iptables(place: str, text: str) -> Rule:
    """A rule in the words of `iptables-save`."""
    if text == UNSHOWN:
        return Rule(f"`{place} {text}`", (), "unknown")
    try:
        words = shlex.split(text)
    except ValueError:
        return Rule(f"`{place} {text}`", (), "unknown")
    matches: list[Match] = []
    negated, at = False, 0
    while at < len(words):
        word, value = words[at], words[at + 1] if at + 1 < len(words) else ""
        if word in ("-j", "-g"):
            return _acting(f"`{place} {text}`", tuple(matches), word, value, words[at + 2 :])
        if word == "!":
            negated, at = True, at + 1
            continue
        if word == "-m":
            if value not in MODULES:
                matches.append(Match("other"))
        elif word in FIELDS:
            matches.append(_match(FIELDS[word], value, negated=negated))
        elif word in OF_TWO:
            matches.append(_of_two(OF_TWO[word], value, words[at + 2 : at + 3], negated=negated))
            at += 1
        elif word == "--socket-exists":
            matches.append(Match("socket", (), negated))
            at -= 1
        elif word != "--comment":
            matches.append(Match("other"))
            at -= value.startswith("-") or value == "!"  # an option without a value
        negated, at = False, at + 2
    return Rule(f"`{place} {text}`", tuple(matches), "on")


def _acting(text: str, matches: tuple[Match, ...], how: str, target: str, more: Sequence[str]) -> Rule:
    if target == "CT" and "--notrack" in more:
        return Rule(text, matches, "notrack")
    if target in TARGETS:
        return Rule(text, matches, TARGETS[target])
    if target in GOES_ON:
        return Rule(text, matches, "on")
    return Rule(text, matches, "goto" if how == "-g" else "jump", target)


def _match(field: str, value: str, *, negated: bool) -> Match:
    try:
        if field in ("source", "destination"):
            networks = (ipaddress.ip_network(each, strict=False) for each in value.split(","))
            return Match(field, tuple(map(_addresses, networks)), negated)
        if field in ("from_port", "to_port", "uid"):
            return Match(field, tuple(_span(each) for each in value.split(",")), negated)
    except ValueError:
        return Match("other")
    if field.endswith("is local"):
        return Match(field, (), negated) if value == "LOCAL" else Match("other")
    return Match(field, tuple(value.split(",")), negated)


def _of_two(field: str, first: str, second: Sequence[str], *, negated: bool) -> Match:
    if field == "set":
        return Match(field, (" ".join((first, *second)),), negated)
    asked, wanted = (frozenset(each.split(",")) - {"NONE"} for each in (first, "".join(second)))
    return Match("other") if "ALL" in asked | wanted else Match(field, (asked, wanted), negated)


def _span(text: str) -> Span:
    low, _, high = text.replace(":", "-").partition("-")
    return int(low), int(high or low)


# nft, as `nft --json` tells it


def _nft(family: str, listed: Sequence[Mapping[str, Any]]) -> Iterator[Chain]:
    """Chains of this family's tables, and of inet's."""
    families = ("inet", {"ipv4": "ip", "ipv6": "ip6"}[family])
    rules: dict[tuple[str, str], list[Rule]] = {}
    for each in listed:
        if (rule := each.get("rule")) and rule["family"] in families:
            table = f"{rule['family']} {rule['table']}"
            rules.setdefault((table, rule["chain"]), []).extend(_of_nft(f"{table} {rule['chain']}", rule))
    for each in listed:
        if (chain := each.get("chain")) and chain["family"] in families:
            table = f"{chain['family']} {chain['table']}"
            hook = chain.get("hook", "")
            walked = hook in HOOKS.values() and not (chain.get("type") == "nat" and hook != "output")
            policy = "drop" if chain.get("policy") == "drop" else ""
            of_chain = tuple(rules.get((table, chain["name"]), ()))
            priority = chain.get("prio")
            at = priority if isinstance(priority, int) else 0
            yield Chain(table, chain["name"], hook if walked else "", policy, of_chain, at)


VERDICTS: dict[str, Does] = {
    "drop": "drop", "reject": "drop", "accept": "accept", "return": "return", "continue": "on", "notrack": "notrack",
    "dnat": "elsewhere", "redirect": "elsewhere", "tproxy": "elsewhere", "queue": "unknown", "vmap": "unknown",
    "xt": "unknown", "synproxy": "unknown",
}  # fmt: skip
NO_MATTER = ("counter", "log", "mangle", "masquerade", "snat", "ct helper", "ct timeout", "set", "comment")


def _of_nft(place: str, rule: Mapping[str, Any]) -> Iterator[Rule]:
    """A rule for each thing that it does."""
    matches: list[Match] = []
    text = f"a rule of `nft list chain {place}`"
    for statement in rule["expr"]:
        for name, body in statement.items():
            if name == "match":
                matches += _of_match(body)
            elif name in ("jump", "goto"):
                yield Rule(text, tuple(matches), "jump" if name == "jump" else "goto", str(body["target"]))
            elif name in VERDICTS:
                yield Rule(text, tuple(matches), VERDICTS[name])
            elif name not in NO_MATTER:
                matches.append(Match("other"))


META = {"l4proto": "protocol", "nfproto": "family", "iifname": "in device", "oifname": "out device",
        "iif": "in device", "oif": "out device", "skuid": "uid"}  # fmt: skip
PAYLOADS = {
    "saddr": "source", "daddr": "destination", "sport": "from_port", "dport": "to_port", "protocol": "protocol",
    "nexthdr": "protocol",
}  # fmt: skip


def _of_match(body: Mapping[str, Any]) -> Iterator[Match]:
    left, negated = body["left"], body["op"] == "!="
    known = isinstance(left, dict) and body["op"] in ("==", "!=", "in")
    payload, meta, tracking = (left.get(name) if known else None for name in ("payload", "meta", "ct"))
    if payload and payload.get("field") in PAYLOADS:
        spoken = payload["protocol"]
        if spoken in ("tcp", "udp"):
            yield Match("protocol", (spoken,))
        elif spoken in ("ip", "ip6"):
            yield Match("family", ("ipv4" if spoken == "ip" else "ipv6",))
        field = PAYLOADS[payload["field"]]
    elif meta and meta.get("key") in META:
        field = META[meta["key"]]
    elif tracking and tracking.get("key") == "state":
        field = "state"
    else:
        yield Match("other")
        return
    try:
        yield Match(field, tuple(_value(field, each) for each in _several(body["right"])), negated)
    except (ValueError, KeyError, TypeError):
        yield Match("other")


def _several(right: Any) -> list[Any]:
    if isinstance(right, dict) and "set" in right:
        return list(right["set"])
    return right if isinstance(right, list) else [right]


def _value(field: str, found: Any) -> Any:
    """Raises ValueError for a named set, whose members may be anything."""
    if isinstance(found, str) and found.startswith("@"):
        raise ValueError("a named set")
    if field in ("source", "destination"):
        if isinstance(found, dict):
            prefix = found["prefix"]
            return _addresses(ipaddress.ip_network(f"{prefix['addr']}/{prefix['len']}", strict=False))
        return _addresses(ipaddress.ip_network(found))
    if field in ("from_port", "to_port", "uid"):
        low, high = found["range"] if isinstance(found, dict) else (found, found)
        return int(low), int(high)
    return str(found).upper() if field == "state" else str(found)
