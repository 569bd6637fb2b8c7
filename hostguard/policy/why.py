"""May this account reach this destination, and which line of the policy decides it (pure)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from hostguard.policy import gateway as behind
from hostguard.policy.destinations import ASKER, is_among, leaving, named_reaches
from hostguard.policy.document import Path
from hostguard.policy.grammar import Address
from hostguard.policy.model import Egress, Gateway, Policy

OUTPUT: Path = ("egress",)
FEW = 5
"""So many names are shown, of many."""


@dataclass(frozen=True)
class Question:
    """`account` None is an account that the policy does not name. `host` is a name in lower case, or an address."""

    account: str | None
    host: str
    port: int
    protocol: str

    @property
    def address(self) -> Address | None:
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


@dataclass(frozen=True)
class Reason:
    """What the policy says at `path`."""

    path: Path
    words: str


@dataclass(frozen=True)
class Answer:
    """`may` None: it depends on the host. `others` are ways that are open instead, and what would open this one."""

    may: bool | None
    decides: Reason
    others: tuple[Reason, ...] = ()


def answer(policy: Policy, asked: Question) -> Answer:
    """What the policy alone says. A host may have rules of others before ours, and names that lead elsewhere."""
    egress = policy.egress
    local = _local(policy, asked)
    if local is not None:
        return local
    if egress is None:
        return Answer(True, Reason(OUTPUT, "the policy says nothing of it: nothing is held"))
    ways = list(_ways(egress, asked))
    mine = next((reason for account, port, reason in ways if _is(asked, account) and port == asked.port), None)
    if mine is not None:
        return _looked_up(egress, asked, mine)
    if egress.mode == "observe":
        words = "observe: it is let through, and logged; under `enforce` it would be dropped"
        return Answer(True, Reason((*OUTPUT, "mode"), words), tuple(_instead(policy, asked, ways)))
    return _held(policy, egress, asked, ways)


def _is(asked: Question, account: str | None) -> bool:
    return account is None or account == asked.account


def _local(policy: Policy, asked: Question) -> Answer | None:
    """What stays on the host, and is held by no allowlist; None for what does not."""
    address, egress, g = asked.address, policy.egress, policy.gateway
    if address is None or not address.is_loopback:
        return None
    if g and g.manage and address == g.address:
        return _of_gateway(g, asked)
    if egress and egress.hosts and str(address) == behind.RESOLVER and egress.resolver_users:
        path: Path = ("egress", "resolver_users")
        may = asked.account in egress.resolver_users
        words = f"the host's own resolver: {', '.join(egress.resolver_users)} alone may ask it"
        return Answer(may, Reason(path, words))
    return Answer(True, Reason(OUTPUT, "it stays on the host: loopback is not held"))


def _of_gateway(g: Gateway, asked: Question) -> Answer:
    doors: list[tuple[Path, int, tuple[str, ...]]] = [
        (("gateway", "providers", name, "users"), to.listen, to.users)
        for name, to in g.providers.items()
        if to.listen is not None
    ]
    if g.metrics:
        doors.append((("gateway", "metrics", "users"), g.metrics.listen, g.metrics.users))
    for path, port, users in doors:
        if port == asked.port and asked.protocol == "tcp":
            others = ", ".join(users)
            return Answer(asked.account in users, Reason(path, f"{others} alone may use this port of the gateway"))
    return Answer(False, Reason(("gateway", "address"), "the gateway's own address, and none of its ports"))


def _ways(egress: Egress, asked: Question) -> Iterator[tuple[str | None, int, Reason]]:
    """Every entry that leads to this destination: by which account, on which port, and where it stands."""
    if (address := asked.address) is not None:
        for way in leaving(egress):
            for at, network in enumerate(way.networks):
                if address in network and way.protocol == asked.protocol:
                    path = (*way.path, at)
                    yield way.account, way.port, Reason(path, f"{network}, {_by(way.account)}")
        return
    for name in named_reaches(egress):
        if name.protocol == asked.protocol and is_among(asked.host, [name.host]):
            yield name.account, name.port, Reason(name.path, f"{name.host}, {_by(name.account)}")


def _by(account: str | None) -> str:
    return f"for {account}" if account else "for any account"


def _looked_up(egress: Egress, asked: Question, mine: Reason) -> Answer:
    """A name must be looked up by who connects, or by another for it."""
    askers = egress.resolver_users
    if asked.address is None and askers and asked.account not in askers:
        words = f"{mine.words}; {', '.join(askers)} must look the name up for it (egress.resolver_users)"
        return Answer(True, Reason(mine.path, words))
    return Answer(True, mine)


def _held(policy: Policy, egress: Egress, asked: Question, ways: list[tuple[str | None, int, Reason]]) -> Answer:
    others = tuple(_instead(policy, asked, ways))
    theirs = [(account, reason) for account, port, reason in ways if port == asked.port and account]
    if theirs:
        who = ", ".join(dict.fromkeys(account for account, _ in theirs))
        return Answer(False, Reason(_keeps_to_account(*theirs[0]), f"{who} alone may reach it"), others)
    if ways:
        ports = ", ".join(map(str, sorted({port for _, port, _ in ways})))
        return Answer(False, Reason(ways[0][2].path[:3], f"{ways[0][2].words}, on port {ports} alone"), others)
    if asked.address is not None and (names := _names_for(egress, asked)):
        words = f"no network has it; it is let through while one of these names leads to it: {names}"
        return Answer(None, Reason(OUTPUT, words), others)
    if asked.address is not None:
        return Answer(False, Reason(OUTPUT, "no entry has it, and what is not named is dropped"), others)
    if egress.hosts:
        return Answer(False, Reason(OUTPUT, "no entry has this name: the host's own resolver does not know it"), others)
    words = "no entry has names: it may reach what the name leads to if that is one of the networks under `cidrs`"
    return Answer(None, Reason(OUTPUT, words), others)


def _keeps_to_account(account: str, reason: Reason) -> Path:
    """The key that keeps an entry to some accounts."""
    if reason.path[1] == "providers":
        return ("egress", "via")
    if reason.path[1] == "resolvers":
        return ("egress", "resolvers") if account == ASKER else ("egress", "resolver_users")
    return (*reason.path[:3], "users")


def _names_for(egress: Egress, asked: Question) -> str:
    """The names that this account reaches on this port."""
    mine = {
        to.host
        for to in named_reaches(egress)
        if (to.protocol, to.port) == (asked.protocol, asked.port) and _is(asked, to.account)
    }
    first = sorted(mine)[:FEW]
    return ", ".join([*first, *(["…"] if len(mine) > FEW else [])])


def _instead(policy: Policy, asked: Question, ways: list[tuple[str | None, int, Reason]]) -> Iterator[Reason]:
    """Ways that are open: through the gateway, by others, on other ports; else the key that would open one."""
    g = policy.gateway
    providers = {str(reason.path[2]) for _, _, reason in ways if len(reason.path) > 2 and reason.path[1] == "providers"}
    through = False
    for name, to in g.providers.items() if g and g.manage else ():
        if name in providers:
            where = [f"http://{g.address}:{to.listen}"] if g and to.listen else []
            where += [f"{behind.RUN}/{name}/http.sock"] if to.group else []
            words = f"{', '.join(to.users)} may, through the gateway: {' or '.join(where)}"
            through = through or asked.account in to.users
            yield Reason(("gateway", "providers", name, "users"), words)
    if through:
        return
    for _, port, reason in ways:
        if port != asked.port:
            yield Reason(reason.path, f"on port {port}: {reason.words}")
    user = f", users: [{asked.account}]" if asked.account else ""
    what = "hosts" if asked.address is None else "cidrs"
    of = asked.host if asked.address is None else str(ipaddress.ip_network(asked.host))
    protocol = ", protocol: udp" if asked.protocol == "udp" else ""
    entry = f"NAME: {{{what}: [{of}], ports: [{asked.port}]{protocol}{user}}}"
    yield Reason(("egress", "services"), f"an entry would open it: {entry}")
