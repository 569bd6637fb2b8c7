"""The gateway as its policy means it: every provider behind it, with all numbers filled in (pure)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hostguard.policy import model
from hostguard.policy.model import Capacity, Policy
from hostguard.policy.numbers import LEAST_FILES, MIB, SPARE_FILES, files, memory, up

FOLDER = "/etc/hostguard/gateway"
XDS = FOLDER + "/xds"
"""Envoy watches this folder: a file that is renamed into it is read."""
RUN = "/run/hostguard-gateway"
ADMIN = RUN + "/admin/admin.sock"
LOGS = "/var/log/hostguard-gateway"
RESOLVER = "127.0.0.83"
"""The host's own resolver, which knows the names of the policy alone."""
UNITS = tuple(f"hostguard-gateway@{instance}.service" for instance in "ab")
"""The two instances: one runs, and the other while one takes over from it."""
SLICE = "egress"
"""The slice of the policy that they run in, where it has one of this name."""

HEADROOM = 2.0
"""Without a capacity: the article's."""
CPUS, MOST_WORKERS = 2, 4
TRIES, WAIT_MAX, LONGEST = 4, 4, 300
"""Tries of a request, seconds that a Retry-After is waited for, and seconds that an application waits at most."""
STREAMS = 100
"""Requests of one HTTP/2 connection at once, which providers commonly allow (RFC 9113, 6.5.2, asks for no less)."""
VALIDATED = MIB
PAGE = 4096
HEAP_SHARE = 0.8
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
    """The longest Retry-After that is waited for, in seconds."""
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


def derive(policy: Policy) -> Gateway | None:
    """The gateway with every number: the policy's own, or what follows. None where the policy has no gateway.

    Raises ValueError for a policy with contradictions (checks.py): nothing follows from those.
    """
    said = policy.gateway
    if said is None:
        return None
    if policy.egress is None or policy.egress.proxy_user is None:
        raise ValueError("a gateway runs as egress.proxy_user")
    upstreams = tuple(_upstream(policy, said, name) for name in said.providers)
    needed = _connections(upstreams)
    nofile = open_files(policy)
    slice_ = (policy.slices or {}).get(SLICE)
    lua = _lua(upstreams, workers(policy))
    heap = said.heap_max or _heap(said, upstreams, slice_.memory_max if slice_ else None, lua)
    return Gateway(
        manage=said.manage,
        program=said.program,
        sha256=said.sha256,
        version_min=said.version_min,
        account=policy.egress.proxy_user,
        address=str(said.address),
        workers=workers(policy),
        tls=Tls(said.tls.min, said.tls.max, said.tls.ciphers, said.ca),
        connections_max=said.connections_max or min(needed, (nofile - SPARE_FILES) // 2),
        heap_max=heap,
        buffer=said.buffer,
        log=said.log,
        metrics_listen=said.metrics.listen if said.metrics else None,
        metrics_users=said.metrics.users if said.metrics else (),
        drain=said.drain,
        upstreams=upstreams,
        admin=said.admin or ADMIN,
        nofile=nofile,
        slice=f"hostguard-{SLICE}.slice" if slice_ else "",
        memory=heap + DRAINING + lua,
    )


def load_of(policy: Policy, name: str) -> model.Load | None:
    """What a provider must carry: its own, or its share of the capacity; None where there is neither."""
    said = policy.gateway
    if said is None or said.providers[name].load or policy.capacity is None:
        return said.providers[name].load if said else None
    share = policy.capacity.peak_rps / len(said.providers)
    return model.Load.model_construct(peak_rps=share, p99=policy.capacity.p99)


def headroom(capacity: Capacity | None) -> float:
    return capacity.headroom if capacity else HEADROOM


def workers(policy: Policy) -> int:
    said, slice_ = policy.gateway, (policy.slices or {}).get(SLICE)
    if said and said.workers:
        return said.workers
    if slice_ and slice_.cpu_quota:
        return min(MOST_WORKERS, math.ceil(slice_.cpu_quota / 100))
    return min(MOST_WORKERS, policy.platform.cpu_min if policy.platform else CPUS)


def open_files(policy: Policy) -> int:
    """The open files of a process: the policy's own, or what its capacity and its gateway need."""
    own = policy.limits.nofile if policy.limits else None
    return own or max(LEAST_FILES, needed_files(policy))


def needed_files(policy: Policy) -> int:
    """What the capacity and the gateway need, whatever the policy sets; without either 0."""
    capacity, said = policy.capacity, policy.gateway
    under_way = up(capacity.peak_rps * capacity.headroom * capacity.p99) if capacity else 0
    asked = 0
    if said and said.manage:
        upstreams = (_upstream(policy, said, name) for name in said.providers)
        asked = said.connections_max or _connections(tuple(upstreams))
    return max((files(most) for most in (under_way, asked) if most), default=0)


def _connections(upstreams: tuple[Upstream, ...]) -> int:
    return 2 * sum(each.requests for each in upstreams)


def _lua(upstreams: tuple[Upstream, ...], threads: int) -> int:
    longest = max((each.payload.validate_max for each in upstreams if each.payload.schema is not None), default=0)
    return threads * LUA * longest


def _heap(said: model.Gateway, upstreams: tuple[Upstream, ...], whole: int | None, lua: int) -> int:
    if whole is None:
        return memory(_connections(upstreams), 2 * said.buffer)
    return int(min(HEAP_SHARE * whole, whole - DRAINING - lua)) // PAGE * PAGE


def _upstream(policy: Policy, said: model.Gateway, name: str) -> Upstream:
    to, load = said.providers[name], load_of(policy, name)
    if policy.egress is None or load is None:
        raise ValueError(f"gateway.providers.{name} has no load")
    provider, times, breaker, room = policy.egress.providers[name], to.timeouts, to.breaker, headroom(policy.capacity)
    requests = breaker.requests or max(1, up(load.peak_rps * load.p99 * room))
    streams = math.ceil(requests / STREAMS) + workers(policy)
    total = total_of(to)
    return Upstream(
        name=name,
        hosts=(to.host or provider.hosts[0], *to.fallback),
        port=to.port or provider.ports[0],
        users=to.users,
        listen=to.listen,
        group=to.group,
        protocol=to.protocol,
        requests=requests,
        connections=breaker.connections or (streams if to.protocol == "http2" else requests),
        pending=breaker.pending or max(1, up(load.peak_rps * room * times.connect)),
        retries=breaker.retries or requests,
        connect=times.connect,
        per_try=times.try_,
        total=total,
        idle=times.idle,
        consecutive_5xx=to.outlier.consecutive_5xx,
        interval=to.outlier.interval,
        ejection=to.outlier.ejection,
        percent=to.outlier.percent,
        retry=Retry(
            tries=tries_of(to),
            wait_max=min(WAIT_MAX, math.floor(total)) if to.retry.wait_max is None else to.retry.wait_max,
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
    )


def tries_of(to: model.Upstream) -> int:
    return to.retry.tries or (1 if to.payload.stream else TRIES)


def total_of(to: model.Upstream) -> float:
    """All tries one after another, or three and one wait."""
    wait = WAIT_MAX if to.retry.wait_max is None else to.retry.wait_max
    return to.timeouts.total or min(tries_of(to) * to.timeouts.try_, 3 * to.timeouts.try_ + wait, LONGEST)


def validate_max_of(payload: model.Payload) -> int:
    return payload.validate_max or min(VALIDATED, payload.response_max)
