"""May this account reach this destination, as a host's kernel says: the rule, set and element that decide (pure).

What the policy says stands beside it: where the two differ, the rules in force are not those of the policy, or others
are before them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hostguard.bundle import Compiled, context_of
from hostguard.controls.egress import names
from hostguard.controls.egress.fate import LOOPBACK, Fate, fate
from hostguard.controls.egress.foreign import OF_A_CLIENT, Chain, Packet, Rule, chains_of
from hostguard.controls.egress.passage import OURS, who_listens
from hostguard.policy.destinations import is_among, named_reaches
from hostguard.policy.load import LoadedPolicy
from hostguard.policy.model import Policy
from hostguard.policy.why import Question
from hostguard.seen import Seen, in_words_of

NAME = "why"
NO_ACCOUNT = 2**32 - 2
"""The number of an account that no rule names; the one above is none (chown(2))."""
DIRECTIONS = {"hash:ip": "dst", "hash:net": "dst", "hash:net,port": "dst,dst", "hash:ip,port": "dst,dst"}
"""What a rule must ask of a set of each type to ask for a destination."""
HEARD = ("", "NOERROR")


@dataclass(frozen=True)
class AddressFate:
    """What becomes of a connection to one address. `may` None: that can't be told. `rule` is in the words of its own
    tool; `set` and `element` are what it found the address in. `in_sets` are those of the name that have it now, None
    where the policy has no such name."""

    address: str
    may: bool | None
    words: str
    rule: str = ""
    set: str = ""
    element: str = ""
    listens: bool | None = None
    """Whether somebody listens there; None for an address that is not this host's own."""
    in_sets: tuple[str, ...] | None = None
    routed: bool = True


@dataclass(frozen=True)
class OnHost:
    """What a host says of a question. `may` is of a connection that somebody answers, `let` of the rules alone.
    `lookup` is what its resolver was asked, and answered; "" of an address."""

    host: str
    may: bool | None
    let: bool | None
    words: tuple[str, ...] = ()
    lookup: str = ""
    addresses: tuple[AddressFate, ...] = ()

    def agrees(self, policy: bool | None) -> bool | None:
        """With what the policy says; None where either can't tell. That nobody listens holds nobody back."""
        seen = self.let if policy is False else self.may
        return None if seen is None or policy is None else seen is policy


def compiler(asked: Question) -> Callable[[LoadedPolicy], Compiled]:
    """What makes of a policy the bundle that asks a host: no resource, and nothing that changes it."""

    def compiled(loaded: LoadedPolicy) -> Compiled:
        return Compiled(loaded, context_of(loaded), (), {NAME: _requests(loaded.policy, asked)}, ())

    return compiled


def _requests(policy: Policy, asked: Question) -> dict[str, Any]:
    server, asker = _resolver(policy, asked)
    way = {"collect": "way-out", "account": asked.account, "host": asked.host, "port": asked.port,
           "protocol": asked.protocol, "server": server, "asker": asker}  # fmt: skip
    found: dict[str, Any] = {"way": way, "rules": {"collect": "rules"}, "other": {"collect": "other-backend"}}
    if asked.address is not None and asked.address.is_loopback:
        found["listeners"] = {"collect": "listeners"}
    return found


def _resolver(policy: Policy, asked: Question) -> tuple[str, str | None]:
    """The resolver that is asked, "" for whichever the host asks, and the account that asks it: one that may."""
    egress = policy.egress
    if egress is None or egress.resolver_users is None or asked.account in egress.resolver_users:
        asker = asked.account
    else:
        asker = next(iter(egress.resolver_users), None)
    return names.ADDRESS if egress and egress.hosts else "", asker


def judge(loaded: LoadedPolicy, asked: Question, host: str, seen: Seen | str) -> OnHost:
    """What a host's answer says of the question."""
    if isinstance(seen, str):
        return _unseen(host, seen or "it did not answer")
    said: dict[str, Any] = {}
    for name in _requests(loaded.policy, asked):
        answer = seen.evidence.get(f"{NAME}/{name}", {"unreadable": "the host did not answer"})
        if "said" not in answer:
            return _unseen(host, str(answer.get("unreadable") or "it does not run"))
        said[name] = answer["said"]
    try:
        return _judged(loaded.policy, asked, host, said)
    except Exception as error:  # whatever a host's odd value makes of it: it was not seen
        return _unseen(host, f"its answer can't be judged: {in_words_of(error)}")


def _unseen(host: str, why: str, lookup: str = "") -> OnHost:
    return OnHost(host, None, None, (why,), lookup)


def _judged(policy: Policy, asked: Question, host: str, said: Mapping[str, Any]) -> OnHost:
    way = said["way"]
    heard = _heard(policy, asked, way)
    if asked.account is not None and way["uid"] is None:
        return _unseen(host, f"it has no account {asked.account}", heard)
    addresses = tuple(_of_address(policy, asked, at, said) for at in range(len(way["addresses"])))
    words = tuple(_words(policy, said["rules"]))
    if not addresses:
        heard_no = bool(way["code"]) and _is_word(way["code"])
        why = "the name leads to no address there" if heard_no else "what the name leads to could not be seen"
        may = False if heard_no else None
        return OnHost(host, may, may, (*words, why), heard)
    # A program that tries several goes on from one without a route to the next at once.
    tried = [each for each in addresses if each.routed] or addresses
    let = _all(each.may for each in tried)
    return OnHost(host, _all([let, *(each.listens is not False for each in tried)]), let, words, heard, addresses)


def _all(several: Iterable[bool | None]) -> bool | None:
    """Whether all hold: not where one does not, and None where one is not known."""
    found = set(several)
    return False if False in found else None if None in found else True


def _heard(policy: Policy, asked: Question, way: Mapping[str, Any]) -> str:
    if asked.address is not None:
        return ""
    server, asker = _resolver(policy, asked)
    who = f"{server or 'the resolver of the host'} as {asker or 'root'}"
    if way["unasked"]:
        return f"{who}: could not be asked: {way['unasked']}"
    addresses = ", ".join(each["address"] for each in way["addresses"])
    said = way["code"] if way["code"] not in HEARD else "" if addresses else "no address"
    return f"{who}: {'; '.join(filter(None, (said, addresses)))}"


def _is_word(code: str) -> bool:
    """Whether it is a resolver's word of the name, and not silence or an error of the network's."""
    return code != "silent" and not code.startswith("E")


def _words(policy: Policy, rules: Mapping[str, Any]) -> Iterator[str]:
    tables = [family["filter"] for family in rules["iptables"].values() if family and "filter" in family]
    ours = any(rule.startswith(f"-j {OURS}") for table in tables for rule in table["rules"].get("OUTPUT", ()))
    if policy.egress is not None and not ours:
        yield "none of hostguard's chains is in force there: nothing was applied, or others took it away"


def _of_address(policy: Policy, asked: Question, at: int, said: Mapping[str, Any]) -> AddressFate:
    way = said["way"]["addresses"][at]
    address = ipaddress.ip_address(way["address"])
    held_in = _sets_of_name(policy, asked, f"ipv{address.version}", at, said["way"]["sets"])
    if way["error"]:
        words = f"it has no route there ({way['error']})"
        return AddressFate(way["address"], False, words, in_sets=held_in, routed=False)
    family = f"ipv{address.version}"
    chains = [
        each for each in chains_of(family, said["rules"]) if not _is_dormant(each, family, said["way"]["dormant"])
    ]
    found = fate(chains, _packet(asked, at, said["way"]), way["device"])
    found = _beside(found, said["other"][family], said["way"]["egress"])
    listens = None
    if way["ours"] and "listeners" in said:
        listens = next(who_listens(way["address"], asked.protocol, asked.port, said["listeners"]), None) is not None
    name, element = _element(found.by, at, said["way"]["sets"]) if found.may else ("", "")
    words = _in_words(found, way["device"], listens=listens)
    by = found.by.text.strip("`") if found.by else ""
    return AddressFate(way["address"], found.may, words, by, name, element, listens, held_in)


def _is_dormant(chain: Chain, family: str, dormant: list[str]) -> bool:
    """Whether its table is switched off: nft tells, and shows its rules all the same."""
    table = chain.table if " " in chain.table else f"{'ip' if family == 'ipv4' else 'ip6'} {chain.table}"
    return table in dormant


def _packet(asked: Question, at: int, way: Mapping[str, Any]) -> Packet:
    """The first of a new connection."""
    there = way["addresses"][at]
    uid = NO_ACCOUNT if asked.account is None else way["uid"]
    sets = {
        f"{name} {DIRECTIONS[each['type']]}": each["elements"][at] != ""
        for name, each in way["sets"].items()
        if each["type"] in DIRECTIONS and each["elements"][at] is not None
    }
    return Packet(
        f"ipv{ipaddress.ip_address(there['address']).version}",
        asked.protocol,
        leaves=True,
        source=ipaddress.ip_network(there["source"]) if there["source"] else None,
        destination=ipaddress.ip_network(there["address"]),
        from_port=OF_A_CLIENT,
        to_port=(asked.port, asked.port),
        uid=(uid, uid),
        direction="ORIGINAL",
        flags=frozenset({"SYN"}) if asked.protocol == "tcp" else None,
        socket=True,
        to_us=there["ours"] or there["device"] == LOOPBACK,
        sets=sets,
    )


def _beside(found: Fate, other: Mapping[str, Any], egress: Sequence[str]) -> Fate:
    """What is in the kernel too, and is not walked: rules of the backend that is not in force, and chains of others
    that see what leaves a device."""
    rules = other["rules"]
    unread = [f"`nft list chain netdev {chain}`" for chain in egress]
    if rules is None or "\n-A " in rules or " DROP [" in rules:
        unread.append(f"the rules of iptables' {other['backend']} backend, which are in the kernel too")
    if not found.may or not unread:
        return found
    return replace(found, may=None, unsure=tuple(Rule(text, (), "unknown") for text in unread))


def _in_words(found: Fate, device: str, *, listens: bool | None) -> str:
    if found.may is None:
        elsewhere = found.by is not None and found.by.does == "elsewhere"
        which = found.by.text if elsewhere and found.by else "; ".join(rule.text for rule in found.unsure[:2])
        return f"{which}: sends it elsewhere" if elsewhere else f"can't tell: not known whether this holds: {which}"
    what = "" if found.by is None else _named(found.by.text)
    if not found.may:
        return f"stopped by {what}"
    by = f"let out by {what}" if what else f"no rule stops it on its way out by {device}"
    return f"{by}, and nobody listens there" if listens is False else by


def _named(text: str) -> str:
    """A rule with its owner; a chain's policy is as it is."""
    if text.startswith("the policy"):
        return text
    whose = "hostguard's" if OURS in text else "another's"
    return f"{whose} rule {text}" if text.startswith("`") else f"{whose} {text.removeprefix('a ')}"


def _element(by: Rule | None, at: int, sets: Mapping[str, Any]) -> tuple[str, str]:
    """The set that a rule found the address in, and its element."""
    for match in by.matches if by else ():
        name = str(match.values[0]).partition(" ")[0] if match.field == "set" and not match.negated else ""
        if name in sets and sets[name]["elements"][at]:
            return name, str(sets[name]["elements"][at])
    return "", ""


def _sets_of_name(
    policy: Policy, asked: Question, family: str, at: int, sets: Mapping[str, Any]
) -> tuple[str, ...] | None:
    """The sets of the name that have the address now; None where the policy does not have the name."""
    reached = () if policy.egress is None or asked.address is not None else named_reaches(policy.egress)
    known = sorted({to.host for to in reached if is_among(asked.host, [to.host])})
    of_name = [names.set_of(family, what, host) for host in known for what in (names.NEW, names.OPEN)]
    return tuple(name for name in of_name if name in sets and sets[name]["elements"][at]) if known else None
