"""The gateway as its policy means it: every provider behind it, with all numbers filled in (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hostguard.policy import keys, model
from hostguard.policy.keys import Place
from hostguard.policy.model import Policy
from hostguard.policy.numbers import (
    BASE_MEMORY,
    BYTES_A_CONNECTION,
    LEAST_FILES,
    MIB,
    NR_OPEN,
    SOCKETS_A_REQUEST,
    SPARE_FILES,
    files,
    little,
    memory,
)

FOLDER = "/etc/hostguard/gateway"
XDS = FOLDER + "/xds"
"""Envoy watches this folder: a file that is renamed into it is read."""
RUN = "/run/hostguard-gateway"
ADMIN = RUN + "/admin/admin.sock"
LOGS = "/var/log/hostguard-gateway"
LOG = f"{LOGS}/access.log"
RESOLVER = "127.0.0.83"
"""The host's own resolver, which knows the names of the policy alone."""
UNIT = "hostguard-gateway.service"
SLICE = "egress"
"""The slice of the policy that it runs in, where there is one of this name."""

HEADROOM = 2.0
"""Without a capacity: the article's."""
CPUS, MOST_WORKERS = 2, 4
TRIES, WAIT_MAX, LONGEST = 4, 4, 300
"""Tries of a request, seconds that a Retry-After is waited for, and seconds that an application waits at most."""
STREAMS = 100
"""Requests of one HTTP/2 connection at once, which providers commonly allow (RFC 9113, 6.5.2, asks for no less)."""
VALIDATED = MIB
PAGE = 4096
HEAP_SHARE, LEAST_HEAP = 0.8, BASE_MEMORY
DRAINING = 66 * MIB
"""Resident memory of an instance that is started and idle: what the second one takes while one drains (measured)."""
LUA = 16
"""Bytes of Lua's own heap for each byte of JSON that it reads: 141 MiB for 9 MiB (measured)."""
OBJECTIVE = (0.5, 2.0)
"""Seconds between which the objective is kept: less alarms for nothing, more is what callers give up after."""


@dataclass(frozen=True)
class Tls:
    """Of every connection to a provider. There is no way to turn verification off."""

    min: str
    max: str
    ciphers: tuple[str, ...]
    ca: str


@dataclass(frozen=True)
class Retry:
    tries: int
    wait_max: float
    """The longest Retry-After that is waited for, in whole seconds; 0: none."""
    safe: tuple[str, ...]
    """Methods that may be sent twice."""
    idempotency_header: str | None
    timeouts: bool


@dataclass(frozen=True)
class Payload:
    """Sizes in bytes. `schema` is JSON Schema for a 2xx answer of one of `types`; None: not looked at."""

    request_max: int
    response_max: int
    validate_max: int
    schema: Mapping[str, Any] | None
    types: tuple[str, ...]
    stream: bool


@dataclass(frozen=True)
class OAuth:
    """A token server of the provider's: a cluster of its own."""

    host: str
    port: int
    url: str
    client_id: str
    scopes: tuple[str, ...]


@dataclass(frozen=True)
class Credential:
    """What is added to each request: the secret at `place.new` behind `prefix`, or a token that it is good for."""

    place: Place
    header: str
    prefix: str
    oauth: OAuth | None

    @property
    def has_old(self) -> bool:
        """Whether a request that is answered 401 goes again with the key before this one."""
        return self.place.old is not None and self.oauth is None


@dataclass(frozen=True)
class Upstream:
    """A provider behind the gateway. Times in seconds."""

    name: str
    hosts: tuple[str, ...]
    """The first is asked; the others are its further regions, in order."""
    port: int
    users: tuple[str, ...]
    listen: int | None
    group: str | None
    protocol: str
    requests: int
    connections: int
    pending: int
    retries: int
    connect: float
    per_try: float
    total: float
    idle: float
    consecutive_5xx: int
    interval: float
    ejection: float
    percent: int
    retry: Retry
    payload: Payload
    p99: float
    errors: float
    """The share of requests that may fail, from 0 to 1."""
    credential: Credential | None = None
    client_certificate: Place | None = None

    @property
    def clusters(self) -> tuple[str, ...]:
        """Envoy's names of it: one, and one more for the old key, in the order in which a request tries them."""
        has_old = self.credential is not None and self.credential.has_old and self.retry.tries > 1
        return (self.name, f"{self.name}-old") if has_old else (self.name,)

    @property
    def token_cluster(self) -> str:
        """Envoy's name of its token server, where it has one."""
        return f"{self.name}-token"


@dataclass(frozen=True)
class Gateway:
    """Sizes in bytes, times in seconds."""

    manage: bool
    program: str
    sha256: str | None
    version_min: str
    account: str
    address: str
    workers: int
    tls: Tls
    connections_max: int
    heap_max: int
    buffer: int
    log: str
    metrics_listen: int | None
    metrics_users: tuple[str, ...]
    drain: float
    upstreams: tuple[Upstream, ...]
    admin: str = ADMIN
    nofile: int = LEAST_FILES
    """LimitNOFILE= of its unit."""
    slice: str = ""
    """Slice= of its unit; "" where the policy has none for it."""
    memory: int = 0
    """What its slice must hold: its heap, Lua's, and a second instance while one drains."""

    @property
    def secrets(self) -> tuple[Place, ...]:
        """Those that it sends or shows to a provider, each once."""
        sent = [up.credential.place for up in self.upstreams if up.credential]
        shown = [up.client_certificate for up in self.upstreams if up.client_certificate]
        return tuple(sorted({*sent, *shown}, key=lambda place: place.name))


def derive(policy: Policy) -> Gateway | None:
    """The gateway with every number: the policy's own, or what follows. None where the policy has no gateway.

    Raises ValueError for a policy with contradictions (checks.py): nothing follows from those.
    """
    said, egress = policy.gateway, policy.egress
    if said is None:
        return None
    if egress is None or egress.proxy_user is None:
        raise ValueError("a gateway runs as egress.proxy_user")
    upstreams = tuple(_upstream(policy, name, to) for name, to in said.providers.items())
    heap = heap_max(policy)
    return Gateway(
        manage=said.manage,
        program=said.program,
        sha256=said.sha256,
        version_min=said.version_min,
        account=egress.proxy_user,
        address=str(said.address),
        workers=workers(policy),
        tls=Tls(said.tls.min, said.tls.max, said.tls.ciphers, said.ca),
        connections_max=connections_of_all(policy),
        heap_max=heap,
        buffer=said.buffer,
        log=said.log,
        metrics_listen=said.metrics.listen if said.metrics else None,
        metrics_users=said.metrics.users if said.metrics else (),
        drain=said.drain,
        upstreams=upstreams,
        admin=said.admin or ADMIN,
        nofile=open_files(policy),
        slice=f"hostguard-{SLICE}.slice" if _slice(policy) else "",
        memory=heap + beside_heap(policy),
    )


def _upstream(policy: Policy, name: str, to: model.Upstream) -> Upstream:
    load, room = load_of(policy, name), headroom(policy)
    if policy.egress is None or load is None:
        raise ValueError(f"gateway.providers.{name} has no load, or no entry in egress")
    provider = policy.egress.providers[name]
    requests, total = requests_of(to, load, room), total_of(to)
    where = keys.places(policy.secrets)
    return Upstream(
        name=name,
        hosts=(to.host or provider.hosts[0], *to.fallback),
        port=to.port or provider.ports[0],
        users=to.users,
        listen=to.listen,
        group=to.group,
        protocol=to.protocol,
        requests=requests,
        connections=connections_of(to, requests, workers(policy)),
        pending=pending_of(to, load, room),
        retries=to.breaker.retries or requests,
        connect=to.timeouts.connect,
        per_try=to.timeouts.try_,
        total=total,
        idle=to.timeouts.idle,
        consecutive_5xx=to.outlier.consecutive_5xx,
        interval=to.outlier.interval,
        ejection=to.outlier.ejection,
        percent=to.outlier.percent,
        retry=Retry(
            tries=tries_of(to),
            wait_max=to.retry.wait_max or wait_max_of(total),
            safe=to.retry.safe,
            idempotency_header=to.retry.idempotency_header,
            timeouts=to.retry.timeouts,
        ),
        payload=Payload(
            request_max=to.payload.request_max,
            response_max=to.payload.response_max,
            validate_max=validate_max_of(to.payload),
            schema=to.payload.schema_,
            types=to.payload.types,
            stream=to.payload.stream,
        ),
        p99=to.objective.p99 or min(max(load.p99, OBJECTIVE[0]), OBJECTIVE[1]),
        errors=to.objective.errors,
        credential=_credential(where, to.credential) if to.credential else None,
        client_certificate=where[to.client_certificate] if to.client_certificate else None,
    )


def _credential(where: Mapping[str, Place], said: model.Credential) -> Credential:
    oauth = None
    if said.oauth2:
        _, host, port = keys.endpoint(said.oauth2.url)
        oauth = OAuth(host, port, said.oauth2.url, said.oauth2.client_id, said.oauth2.scopes)
    return Credential(where[said.secret], said.header, said.prefix, oauth)


def load_of(policy: Policy, name: str) -> model.Load | None:
    """What a provider must carry: its own, or its share of the capacity; None where there is neither."""
    providers = policy.gateway.providers if policy.gateway else {}
    if providers[name].load or policy.capacity is None:
        return providers[name].load
    return model.Load.model_construct(peak_rps=policy.capacity.peak_rps / len(providers), p99=policy.capacity.p99)


def headroom(policy: Policy) -> float:
    return policy.capacity.headroom if policy.capacity else HEADROOM


def requests_of(to: model.Upstream, load: model.Load, room: float) -> int:
    return to.breaker.requests or max(1, little(load.peak_rps * room, load.p99))


def connections_of(to: model.Upstream, requests: int, threads: int) -> int:
    """Each thread has connections of its own. Whether a provider speaks HTTP/2 is not known under `auto`."""
    streams = math.ceil(requests / STREAMS) + threads
    return to.breaker.connections or (streams if to.protocol == "http2" else requests)


def pending_of(to: model.Upstream, load: model.Load, room: float) -> int:
    return to.breaker.pending or max(1, little(load.peak_rps * room, to.timeouts.connect))


def falls_back(policy: Policy, credential: model.Credential) -> bool:
    """Whether there is an old key to try where the new one is refused."""
    place = keys.places(policy.secrets).get(credential.secret)
    return place is not None and place.old is not None and credential.oauth2 is None


def clusters_of(policy: Policy, to: model.Upstream) -> int:
    """Its clusters, with connections of their own each: another one for the old key. While a provider does not take the
    new key yet, every request is in both, one after the other."""
    return 2 if to.credential and falls_back(policy, to.credential) and tries_of(to) > 1 else 1


def sockets_of(policy: Policy) -> int:
    """What a connection of an application may hold: itself, and one to each cluster of its provider, used or kept. Only
    one of those has its buffers full at a time, so that memory does not count them."""
    providers = policy.gateway.providers.values() if policy.gateway else ()
    return max((1 + clusters_of(policy, to) for to in providers), default=SOCKETS_A_REQUEST)


def tries_of(to: model.Upstream) -> int:
    return to.retry.tries or (1 if to.payload.stream else TRIES)


def total_of(to: model.Upstream) -> float:
    """All tries one after another, or three of them and a wait."""
    one, wait = to.timeouts.try_, to.retry.wait_max or WAIT_MAX
    return to.timeouts.total or min(tries_of(to) * one, 3 * one + wait, LONGEST)


def wait_max_of(total: float) -> float:
    return min(WAIT_MAX, math.floor(total))


def validate_max_of(payload: model.Payload) -> int:
    return payload.validate_max or min(VALIDATED, payload.response_max)


def _slice(policy: Policy) -> model.Slice | None:
    return (policy.slices or {}).get(SLICE)


def workers(policy: Policy) -> int:
    said, slice_ = policy.gateway, _slice(policy)
    if said and said.workers:
        return said.workers
    if slice_ and slice_.cpu_quota:
        return min(MOST_WORKERS, math.ceil(slice_.cpu_quota / 100))
    return min(MOST_WORKERS, policy.platform.cpu_min if policy.platform else CPUS)


def connections_of_all(policy: Policy) -> int:
    """Connections of applications at once: what the breakers ask for twice over, as far as there are files for them."""
    said, room = policy.gateway, headroom(policy)
    if said is None:
        return 0
    loads = ((to, load_of(policy, name)) for name, to in said.providers.items())
    asked = 2 * sum(requests_of(to, load, room) for to, load in loads if load)
    most = (policy.limits and policy.limits.nofile) or NR_OPEN
    return said.connections_max or min(asked, (most - SPARE_FILES) // sockets_of(policy))


def open_files(policy: Policy) -> int:
    """The policy's own, or what its connections need."""
    own = policy.limits.nofile if policy.limits else None
    return own or max(LEAST_FILES, files(connections_of_all(policy), sockets_of(policy)))


def slice_memory(policy: Policy) -> int | None:
    """What its slice may take: the policy's own, or what follows from the capacity; None where there is no limit."""
    slice_, capacity = _slice(policy), policy.capacity
    if slice_ is None or slice_.memory_max is not None or capacity is None:
        return slice_.memory_max if slice_ else None
    under_way = little(capacity.peak_rps * capacity.headroom, capacity.p99)
    return memory(SOCKETS_A_REQUEST * under_way, BYTES_A_CONNECTION[1])


def heap_max(policy: Policy) -> int:
    said, whole = policy.gateway, slice_memory(policy)
    if said is None:
        return 0
    if said.heap_max or whole is None:
        return said.heap_max or memory(connections_of_all(policy), 2 * said.buffer)
    return int(min(HEAP_SHARE * whole, whole - beside_heap(policy))) // PAGE * PAGE


def beside_heap(policy: Policy) -> int:
    """Bytes that its slice must hold beside its heap: another instance while one drains, and Lua's own heap."""
    payloads = [to.payload for to in policy.gateway.providers.values()] if policy.gateway else []
    longest = max((validate_max_of(each) for each in payloads if each.schema_ is not None), default=0)
    return DRAINING + workers(policy) * LUA * longest
