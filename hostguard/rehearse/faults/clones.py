"""The user's policy, compiled anew with a provider of its own for each fault, so that all can come at once (pure).

A clone has its provider's numbers, whatever they are. What is its own is its names, which lead to addresses in the
rehearsal's world, its port, and files for its keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from hostguard.policy import model
from hostguard.policy.gateway import Gateway, Upstream, derive, headroom, load_of
from hostguard.policy.model import Policy
from hostguard.rehearse import gateway
from hostguard.rehearse.faults.cases.as_usual import Nothing
from hostguard.rehearse.faults.fault import Fault, Numbers
from hostguard.rehearse.faults.site import Plan

WAYS = ("direct", "article", "gateway")
DOMAIN = "rehearsal.test"
PLACE = gateway.PLACE
SECRETS = {"keys": f"{PLACE}/keys", "empty": f"{PLACE}/empty"}
"""The folders of keys, by the secret's name."""
CLIENT, CONTROL = "client", "control"
FIRST_PORT, LAST_PORT = 100, 1023
MOST_UNDER_WAY = 64
"""Requests of a breaker that are rehearsed; one that takes more is rehearsed smaller."""
FAST = 10
MORE_HEAP = 512 * 2**20
MOST_SETS = 2
"""Providers of different numbers that two cores still rehearse side by side."""


@dataclass(frozen=True)
class Clone:
    """`name` is that of the provider in the cloned policy, `of` that in the user's own."""

    name: str
    of: str
    fault: Fault
    numbers: Numbers
    listen: int
    account: str
    plans: Mapping[str, Plan]
    """By way."""


@dataclass(frozen=True)
class Act:
    """What is applied at one time, and asked for. `control` is a provider without a fault, beside all that have one:
    what its answers take is the machine's doing."""

    policy: Policy
    clones: tuple[Clone, ...]
    control: Clone


@dataclass(frozen=True)
class Cloned:
    acts: tuple[Act, ...]
    left_out: tuple[str, ...]
    """What is not rehearsed of the policy, in a line each."""

    @property
    def clones(self) -> tuple[Clone, ...]:
        return tuple(clone for act in self.acts for clone in act.clones)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """All that stands in the world."""
        every = (*self.clones, *(act.control for act in self.acts[:1]))  # the same of all acts
        return tuple(plan for clone in every for plan in clone.plans.values())


def distinct(g: Gateway) -> list[list[str]]:
    """The providers by their numbers: those of a list have the same."""
    found: dict[object, list[str]] = {}
    for up in g.upstreams:
        found.setdefault(_numbers(up), []).append(up.name)
    return list(found.values())


def _numbers(up: Upstream) -> object:
    """All of it that is no name."""
    credential = up.credential and (up.credential.oauth is None, up.credential.has_old)
    payload = replace(up.payload, schema=str(up.payload.schema))  # type: ignore[arg-type]  # to be compared alone
    return replace(
        up, name="", hosts=("",) * len(up.hosts), port=0, users=(), listen=None, group=None, payload=payload,
        credential=credential, client_certificate=None,  # type: ignore[arg-type]  # the same
    )  # fmt: skip


def cloned(policy: Policy, providers: Sequence[str], faults: Sequence[Fault], *, fast: bool, caller: float) -> Cloned:
    """The policy with a provider for each of these faults, for each of these providers. Raises ValueError for more
    than there are ports."""
    g = derive(policy)
    if g is None or policy.gateway is None or policy.egress is None:
        raise ValueError("the policy has no gateway")
    ups, ports = {up.name: up for up in g.upstreams}, _ports(policy)
    unfit: dict[str, list[str]] = {}
    chosen: dict[str, tuple[Upstream, Fault, int]] = {}
    for of in providers:
        numbers = _measured(policy, g, _plain(ups[of]), ups[of], fast, caller)
        for fault in faults:
            if fault.act > 1 and of != providers[0]:
                continue  # it is done to the gateway, which is one
            if reason := fault.unfit(numbers):
                unfit.setdefault(f"{of} has {reason}", []).append(fault.id)
            else:
                chosen[f"f{len(chosen)}"] = (ups[of], fault, next(ports))
    if not chosen:
        return Cloned((), _left_out(unfit))
    chosen[CONTROL] = (ups[providers[0]], Nothing(), next(ports))
    said = {name: _clone(policy, *each, name, fast) for name, each in chosen.items()}
    derived = derive(_with(policy, g, said))
    clones: dict[int, list[Clone]] = {}
    for at, up in enumerate(derived.upstreams if derived else ()):
        own, fault, port = chosen[up.name]
        numbers = _measured(policy, g, up, own, fast, caller)
        plans = {way: _plan(up, fault, numbers, way, at * len(WAYS) + nr) for nr, way in enumerate(WAYS)}
        clone = Clone(up.name, own.name, fault, numbers, port, fault.account or up.users[0], plans)
        clones.setdefault(fault.act if up.name != CONTROL else 0, []).append(clone)
    (control,) = clones.pop(0)
    acts = (
        Act(_with(policy, g, {each.name: said[each.name] for each in (*of, control)}), tuple(of), control)
        for _, of in sorted(clones.items())
    )
    return Cloned(tuple(acts), (*_left_out(unfit), *(words for of in providers for words in _set_aside(ups[of]))))


def _left_out(unfit: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    return tuple(f"{', '.join(ids)}: {reason}" for reason, ids in unfit.items())


def _plan(up: Upstream, fault: Fault, numbers: Numbers, way: str, number: int) -> Plan:
    return Plan(f"{up.name}/{way}", fault, numbers, hosts(up.name, way, len(up.hosts)), _network(number))


def hosts(name: str, way: str, regions: int) -> tuple[str, ...]:
    return tuple(f"r{region + 1}.{name}.{way}.{DOMAIN}" for region in range(regions))


def _network(number: int) -> str:
    """The first three numbers of an address of the networks for benchmarks (RFC 2544), past the stage's own."""
    return f"198.19.{number}" if number < 256 else f"198.18.{number - 256 + 32}"


def _measured(policy: Policy, g: Gateway, up: Upstream, own: Upstream, fast: bool, caller: float) -> Numbers:
    return Numbers(up, own, g.tls.ca, g.tls.min, g.program, g.drain, headroom(policy), caller, fast)


def _plain(up: Upstream) -> Upstream:
    return replace(up, credential=None) if up.credential and up.credential.oauth else up


def _set_aside(up: Upstream) -> Iterator[str]:
    """What of a provider the rehearsal's own does not have."""
    if up.credential and up.credential.oauth:
        yield f"{up.name}: its token server (oauth2): rehearsed without a credential"
    if up.protocol == "http2":
        yield f"{up.name}: HTTP/2: the rehearsal's provider speaks HTTP/1.1"


def _ports(policy: Policy) -> Iterator[int]:
    taken = {port for way in (policy.egress.inbound.values() if policy.egress else ()) for port in way.ports}
    if policy.gateway and policy.gateway.metrics:
        taken.add(policy.gateway.metrics.listen)
    yield from (port for port in range(FIRST_PORT, LAST_PORT + 1) if port not in taken)
    raise ValueError("more faults than there are ports")


def _clone(policy: Policy, up: Upstream, fault: Fault, port: int, name: str, fast: bool) -> model.Upstream:
    said = policy.gateway.providers[up.name]  # type: ignore[union-attr]  # looked at by the caller
    first, *further = hosts(name, "gateway", len(up.hosts))
    outlier, breaker = said.outlier, said.breaker
    if fast:
        outlier = outlier.model_copy(update={"interval": outlier.interval / FAST, "ejection": outlier.ejection / FAST})
    if said.protocol == "http2":  # spoken as HTTP/1.1, which has one request on each connection
        up = replace(up, connections=up.requests)
        breaker = breaker.model_copy(update={"connections": up.connections})
    if fault.id == "overload" and up.requests > MOST_UNDER_WAY:
        share = MOST_UNDER_WAY / up.requests
        scaled = {"requests": up.requests, "connections": up.connections, "pending": up.pending, "retries": up.retries}
        breaker = breaker.model_copy(update={key: max(1, round(of * share)) for key, of in scaled.items()})
    credential = said.credential
    if credential:
        kept = credential.oauth2 is None
        credential = credential.model_copy(update={"secret": _secret(fault.keys, up)}) if kept else None
    return said.model_copy(
        update={
            "host": first, "port": up.port, "fallback": tuple(further), "listen": port, "group": None,
            "load": load_of(policy, up.name), "outlier": outlier, "breaker": breaker, "credential": credential,
            "protocol": "auto" if said.protocol == "http2" else said.protocol,
            "client_certificate": CLIENT if said.client_certificate else None,
        }
    )  # fmt: skip


def _secret(keys: str, up: Upstream) -> str:
    return keys if up.credential and up.credential.place.old else f"{keys}-alone"


def _with(policy: Policy, g: Gateway, clones: Mapping[str, model.Upstream]) -> Policy:
    """In place of the gateway's own providers; those of egress stay."""
    if policy.gateway is None or policy.egress is None:
        raise ValueError("the policy has no gateway")
    # One pattern for all: a rule for each name is more than a message to the kernel holds in a namespace, where nobody
    # may exceed net.core.wmem_max.
    below = (f"*.gateway.{DOMAIN}",)
    opened = {name: model.Provider(hosts=below, ports=(each.port or 443,)) for name, each in clones.items()}
    egress = policy.egress.model_copy(update={"providers": {**policy.egress.providers, **opened}})
    room = {"heap_max": g.heap_max + MORE_HEAP, "connections_max": g.connections_max + 4096}
    changed = policy.gateway.model_copy(update={"providers": dict(clones), **room})
    secrets = policy.secrets and policy.secrets.model_copy(update={"files": {**policy.secrets.files, **_files()}})
    return gateway.staged(policy.model_copy(update={"egress": egress, "gateway": changed, "secrets": secrets}))


def _files() -> dict[str, model.SecretFiles]:
    at = f"{PLACE}/{CLIENT}"
    return {
        **{name: model.SecretFiles(new=f"{folder}/new", old=f"{folder}/old") for name, folder in SECRETS.items()},
        **{f"{name}-alone": model.SecretFiles(new=f"{folder}/new") for name, folder in SECRETS.items()},
        CLIENT: model.SecretFiles(certificate=f"{at}.pem", key=f"{at}.key"),
    }
