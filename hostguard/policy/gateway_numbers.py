"""Every derived number of a gateway with its formula, for who asks where it came from (pure)."""

from __future__ import annotations

import math
from collections.abc import Iterator

from hostguard.policy import gateway as derived
from hostguard.policy.gateway import WAIT_MAX, Gateway, Upstream
from hostguard.policy.model import Breaker, Policy
from hostguard.policy.numbers import (
    BASE_MEMORY,
    KIB,
    LEAST_FILES,
    MIB,
    NR_OPEN,
    SPARE_FILES,
    Number,
    files,
)


def numbers(policy: Policy, gateway: Gateway) -> tuple[Number, ...]:
    return (*(number for each in gateway.upstreams for number in _of(policy, each)), *_whole(policy, gateway))


def _of(policy: Policy, each: Upstream) -> Iterator[Number]:
    said, load = policy.gateway, derived.load_of(policy, each.name)
    if said is None or load is None:
        return
    to, room, threads = said.providers[each.name], derived.headroom(policy), derived.workers(policy)
    own, times, wait = to.breaker, to.timeouts, to.retry.wait_max
    to = to.model_copy(update={"breaker": Breaker(), "timeouts": times.model_copy(update={"total": None})})
    share = "" if to.load or len(said.providers) == 1 else f" (the capacity's rps / {len(said.providers)})"
    little = f"rps × p99 × headroom = {load.peak_rps:g} × {load.p99:g} s × {room:g}{share}"
    yield _number(each, "requests", derived.requests_of(to, load, room), "under way", little, own.requests)
    streams = f"requests / {derived.STREAMS}, up, + workers = {each.requests} / {derived.STREAMS} + {threads}"
    one_each = "requests: HTTP/1 has one on each connection"
    connections = derived.connections_of(to, each.requests, threads)
    formula = streams if each.protocol == "http2" else one_each
    yield _number(each, "connections", connections, "to the provider", formula, own.connections)
    waiting = f"rps × headroom × connect = {load.peak_rps:g} × {room:g} × {each.connect:g} s"
    yield _number(each, "pending", derived.pending_of(to, load, room), "for a connection", waiting, own.pending)
    yield _number(each, "retries", each.requests, "under way", "requests: a fallback takes all of them", own.retries)
    tries, one = each.retry.tries, each.per_try
    total = (
        f"the least of tries × try = {tries} × {one:g} s, 3 × try + wait_max = {3 * one + (wait or WAIT_MAX):g} s, "
        f"and {derived.LONGEST} s"
    )
    yield _number(each, "total", _ms(derived.total_of(to)), "ms", total, times.total and _ms(times.total))
    whole = f"the less of {WAIT_MAX} s and total, in whole seconds"
    yield _number(each, "wait_max", _ms(derived.wait_max_of(each.total)), "ms", whole, wait and _ms(wait))


def _number(each: Upstream, name: str, value: int, unit: str, formula: str, own: float | None) -> Number:
    said = "" if own is None else f"{own:g}"
    return Number(f"gateway {each.name} {name}", value, unit, formula, "clusters, routes", said)


def _ms(seconds: float) -> int:
    return math.ceil(round(seconds * 1000, 6))


def _whole(policy: Policy, gateway: Gateway) -> Iterator[Number]:
    said, whole = policy.gateway, derived.slice_memory(policy)
    if said is None:
        return
    without = said.model_copy(update={"workers": None, "connections_max": None, "heap_max": None})
    bare, sockets = policy.model_copy(update={"gateway": without}), derived.sockets_of(policy)
    yield Number(
        "gateway workers",
        derived.workers(bare),
        "threads",
        f"slices.{derived.SLICE}.cpu_quota up to whole CPUs, else platform.cpu_min, at most {derived.MOST_WORKERS}",
        "--concurrency",
        str(said.workers or ""),
    )
    yield Number(
        "gateway connections",
        derived.connections_of_all(bare),
        "of applications",
        f"2 × the requests of all providers, at most ((limits.nofile, or {NR_OPEN}) - {SPARE_FILES}) / {sockets}",
        "global_downstream_max_connections",
        str(said.connections_max or ""),
    )
    yield Number(
        "gateway open files",
        max(LEAST_FILES, files(gateway.connections_max, sockets)),
        "",
        f"max({LEAST_FILES}, {sockets} × gateway connections + {SPARE_FILES})",
        "LimitNOFILE= of its unit",
        str((policy.limits and policy.limits.nofile) or ""),
    )
    each = f"2 × {gateway.buffer // KIB} KiB"
    from_slice = f"80 % of memory_max of slices.{derived.SLICE}, at most what is left beside a second instance"
    from_load = f"gateway connections × {each} + {BASE_MEMORY // MIB} MiB"
    yield Number(
        "gateway heap",
        derived.heap_max(bare) // MIB,
        "MiB",
        from_load if whole is None else from_slice,
        "max_heap_size_bytes",
        f"{said.heap_max // MIB} MiB" if said.heap_max else "",
    )
    schemas = (gateway.memory - gateway.heap_max - derived.DRAINING) // MIB
    lua = f" + {schemas} MiB (workers × {derived.LUA} × validate_max, where there is a schema)" if schemas else ""
    yield Number(
        "gateway memory",
        math.ceil(gateway.memory / MIB),
        "MiB",
        f"heap + {derived.DRAINING // MIB} MiB for a second instance while one drains{lua}",
        note="" if whole is None else f"of the {whole // MIB} MiB of slices.{derived.SLICE}",
    )
