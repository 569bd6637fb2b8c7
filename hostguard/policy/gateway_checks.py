"""What a policy can't mean of its gateway, though each word is well-formed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.policy import gateway as derived
from hostguard.policy import json_schema
from hostguard.policy.destinations import is_among
from hostguard.policy.document import Path, safe
from hostguard.policy.finding import Finding
from hostguard.policy.model import Egress, Gateway, Policy, Provider, Upstream
from hostguard.policy.numbers import MIB, NR_OPEN, REUSED_AFTER, SPARE_FILES, ephemeral, taken_ports

SECTION: Path = ("gateway",)
UNPRIVILEGED = "net.ipv4.ip_unprivileged_port_start"
SHARED = ("127.0.0.1", "127.0.0.53", "127.0.0.54", derived.RESOLVER)
"""What is many programs' (localhost), systemd-resolved's, and the resolver's of hostguard."""
BUFFER = (8 * 1024, MIB)
WAITS = (1, 59)
LONGEST_DRAIN = 50
"""Seconds: a program on a host has 120 s, and of a reload 30 s are to become ready, 10 s to end, and 30 s to spare."""
CHECKED = ", ".join(sorted(json_schema.CHECKED))
NOT_REPEATABLE = ("POST", "PATCH")
"""Methods that are not idempotent (RFC 9110, 9.2.2; RFC 5789)."""
ALWAYS_THERE = {
    "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "cookie", "date",
    "expect", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
    "upgrade", "user-agent", "via", "x-forwarded-for", "x-forwarded-proto", "x-request-id",
}  # fmt: skip
"""Headers of any request, of one hop, or that a proxy adds: none says that a request may be sent twice."""


def contradictions(policy: Policy) -> Iterator[Finding]:
    """Every contradiction in what could be read of a policy; sections that could not be are None."""
    said = policy.gateway
    if said is None:
        return
    yield from _place(policy, said)
    yield from _proxy(said)
    yield from _listeners(policy, said)
    for name, to in said.providers.items():
        path: Path = (*SECTION, "providers", name)
        yield from _somebody(policy.egress, to, path)
        yield from _times(to, path)
        yield from _repeats(to, path)
        yield from _payload(to, path)
        provider = policy.egress.providers.get(name) if policy.egress else None
        if provider:
            yield from _target(to, provider, path)
        elif policy.egress:
            of: Path = ("egress", "providers", name)
            yield Finding(path, "a provider that egress does not have", "a name of egress.providers", (of,))
        if derived.load_of(policy, name) is None:
            yield Finding((*path, "load"), "nothing", "peak_rps and p99 (or a capacity)", (("capacity",),))
    yield from _units(policy)
    if said.manage and policy.egress and all(derived.load_of(policy, name) for name in said.providers):
        yield from _sizes(policy, said)


def _place(policy: Policy, said: Gateway) -> Iterator[Finding]:
    egress = policy.egress
    if egress is None:
        yield Finding(("egress",), "nothing", "the section: its providers are the gateway's, its proxy_user runs it")
    elif egress.via == "direct":
        expected = "proxy: else a process that does not use the gateway gets by without it"
        yield Finding(("egress", "via"), "direct", expected)
    elif egress.proxy_user == "root":
        yield Finding(("egress", "proxy_user"), "root", "an account of the gateway's own")
    if not said.providers:
        yield Finding((*SECTION, "providers"), "nothing", "at least one provider of egress.providers")
    if said.drain > LONGEST_DRAIN:
        expected = f"at most {LONGEST_DRAIN} s: an apply waits for the old process to end"
        yield Finding((*SECTION, "drain"), f"{said.drain:g} s", expected)
    if said.manage and said.admin is not None:
        yield Finding((*SECTION, "admin"), said.admin, "no such key: it is another's, under manage: false")
    if not said.manage and said.admin is None:
        yield Finding((*SECTION, "admin"), "nothing", "the admin socket of the Envoy that somebody else configures")


def _proxy(said: Gateway) -> Iterator[Finding]:
    address = said.address
    if address.version != 4 or not address.is_loopback or str(address) in SHARED:
        expected = f"an address in 127.0.0.0/8 of its own, none of {', '.join(SHARED)}: who may use it is held by it"
        yield Finding((*SECTION, "address"), str(address), expected)
    if said.tls.min > said.tls.max:
        yield Finding((*SECTION, "tls", "min"), said.tls.min, f"at most tls.max ({said.tls.max})")
    if not BUFFER[0] <= said.buffer <= BUFFER[1]:
        yield Finding((*SECTION, "buffer"), f"{said.buffer} bytes", "8K to 1M")


def _listeners(policy: Policy, said: Gateway) -> Iterator[Finding]:
    ports: list[tuple[Path, int]] = [
        ((*SECTION, "providers", name, "listen"), to.listen) for name, to in said.providers.items() if to.listen
    ]
    if said.metrics:
        ports.append(((*SECTION, "metrics", "listen"), said.metrics.listen))
    inbound = policy.egress.inbound if policy.egress else {}
    lowest = (policy.kernel or {}).get(UNPRIVILEGED, "1024")
    above: set[int] = set()
    for path, port in ports:
        if port in above:
            yield Finding(path, str(port), "each port once")
        above.add(port)
        for name, way in inbound.items():
            if way.protocol == "tcp" and port in way.ports:
                yield Finding(path, str(port), f"a port of its own: egress.inbound.{name} lets others connect to it")
        if lowest.isdecimal() and int(lowest) <= port:
            expected = f"more than {port}: while the gateway is down, any account could listen there"
            yield Finding(("kernel", UNPRIVILEGED), lowest, expected)


def _somebody(egress: Egress | None, to: Upstream, path: Path) -> Iterator[Finding]:
    if to.listen is None and to.group is None:
        yield Finding(path, "neither listen nor group", "one of them, or both: a port, a socket")
    nobody = {"root", egress.proxy_user if egress else None}
    for at, user in enumerate(to.users):
        if user in nobody:
            expected = "an application's account: neither root nor egress.proxy_user"
            yield Finding((*path, "users", at), user, expected)
    if to.group is not None and to.group in nobody:
        yield Finding((*path, "group"), to.group, "an application's group: neither root's nor the gateway's")


def _target(to: Upstream, provider: Provider, path: Path) -> Iterator[Finding]:
    """The names and the port, which must be the provider's own: nothing else is let through."""
    entry: Path = ("egress", "providers", path[-1])
    among = (entry,)
    if not provider.hosts:
        yield Finding(entry, "no hosts", "the provider's name: the gateway verifies its certificate by it", among)
        return
    if to.host is None and (len(provider.hosts) > 1 or provider.hosts[0].startswith("*.")):
        yield Finding((*path, "host"), "nothing", f"one of its hosts: {_few(provider.hosts)}", among)
    named = [((*path, "host"), to.host)] if to.host else []
    named += [((*path, "fallback", at), host) for at, host in enumerate(to.fallback)]
    for where, host in named:
        if host.startswith("*."):
            yield Finding(where, host, "a name: none is asked for by a wildcard")
        elif not is_among(host, provider.hosts):
            yield Finding(where, host, f"one of its hosts: {_few(provider.hosts)}", among)
    first = to.host or provider.hosts[0]
    if first in to.fallback:
        yield Finding((*path, "fallback", to.fallback.index(first)), first, "a further region: this one is asked first")
    ports = _few(map(str, provider.ports))
    if to.port is None and len(provider.ports) > 1:
        yield Finding((*path, "port"), "nothing", f"one of its ports: {ports}", among)
    elif to.port is not None and to.port not in provider.ports:
        yield Finding((*path, "port"), str(to.port), f"one of its ports: {ports}", among)


def _few(words: Any) -> str:
    first, *more = words
    return ", ".join([first, *more[:4]]) + (", …" if len(more) > 4 else "")


def _times(to: Upstream, path: Path) -> Iterator[Finding]:
    times, total = to.timeouts, derived.total_of(to)
    where: Path = (*path, "timeouts")
    if times.connect > times.try_:
        yield Finding((*where, "connect"), f"{times.connect:g} s", f"at most `try` ({times.try_:g} s)")
    if total > derived.LONGEST:
        yield Finding((*where, "total"), f"{total:g} s", f"at most {derived.LONGEST} s")
    if times.try_ > total:
        yield Finding((*where, "try"), f"{times.try_:g} s", f"at most `total` ({total:g} s)")
    regions, percent = 1 + len(to.fallback), to.outlier.percent
    if percent * regions < 100:  # measured with 1.40: one endpoint of one is never cut under 100 %
        found, expected = f"{percent} % of {regions}", "as many percent as one region is: below, none is ever cut"
        yield Finding((*path, "outlier", "percent"), found, expected)
    wait = to.retry.wait_max
    if wait is not None and (wait != int(wait) or not WAITS[0] <= wait <= WAITS[1]):
        expected = f"whole seconds from {WAITS[0]}s to {WAITS[1]}s, as Retry-After says them"
        yield Finding((*path, "retry", "wait_max"), f"{wait:g} s", expected)
    elif wait is not None and wait > total:
        yield Finding((*path, "retry", "wait_max"), f"{wait:g} s", f"at most `timeouts.total` ({total:g} s)")


def _repeats(to: Upstream, path: Path) -> Iterator[Finding]:
    retry, header = to.retry, to.retry.idempotency_header
    where: Path = (*path, "retry")
    for at, method in enumerate(retry.safe):
        if method in NOT_REPEATABLE and header is None:
            expected = "retry.idempotency_header, by which the provider knows a request that it had already"
            yield Finding((*where, "safe", at), method, expected)
    if header and (header.lower() in ALWAYS_THERE or header.lower().startswith("x-envoy-")):
        expected = "a header that means it, such as Idempotency-Key: other requests have this one too"
        yield Finding((*where, "idempotency_header"), header, expected)


def _payload(to: Upstream, path: Path) -> Iterator[Finding]:
    payload = to.payload
    where: Path = (*path, "payload")
    if payload.stream:
        if derived.tries_of(to) > 1:
            found = f"{to.retry.tries} with stream: true"
            yield Finding((*path, "retry", "tries"), found, "1: what was handed on can't be taken back")
        for key in ("schema_", "response_max"):
            if key in payload.model_fields_set:
                name = key.rstrip("_")
                yield Finding((*where, name), "one, with stream: true", "no such key: a stream is handed on unseen")
    if payload.validate_max and payload.validate_max > payload.response_max:
        found = f"{payload.validate_max} bytes"
        yield Finding((*where, "validate_max"), found, f"at most response_max ({payload.response_max} bytes)")
    if payload.schema_ is not None:
        for pointer, keyword in json_schema.unsupported(payload.schema_):
            known = keyword in json_schema.CHECKED
            expected = "a form that the gateway checks" if known else f"what the gateway checks: {CHECKED}"
            place = (*where, "schema", *_steps(payload.schema_, pointer), keyword)
            yield Finding(place, f"the keyword {safe(keyword)}", expected)


def _steps(schema: Mapping[str, Any], pointer: str) -> Iterator[str | int]:
    """A JSON pointer (RFC 6901) as a path of the policy."""
    node: Any = schema
    for step in pointer.split("/")[1:]:
        name: str | int = step.replace("~1", "/").replace("~0", "~")
        name = int(name) if isinstance(node, list | tuple) else name
        node = node[name]
        yield name


def _units(policy: Policy) -> Iterator[Finding]:
    """Its units are hostguard's own: they have their limit, and their slice, without being named."""
    named: list[tuple[Path, tuple[str, ...]]] = [(("limits", "units"), policy.limits.units if policy.limits else ())]
    named += [(("slices", name, "units"), slice_.units) for name, slice_ in (policy.slices or {}).items()]
    for path, units in named:
        for at, unit in enumerate(units):
            if unit == derived.UNIT:
                yield Finding((*path, at), unit, f"no such unit: it has the limit and slices.{derived.SLICE} by itself")


def _sizes(policy: Policy, said: Gateway) -> Iterator[Finding]:
    """Numbers of which one does not leave room for another."""
    yield from _ports(policy, said)
    own, asked = policy.limits.nofile if policy.limits else None, said.connections_max
    sockets = derived.sockets_of(policy)
    most = ((own or NR_OPEN) - SPARE_FILES) // sockets
    if most < (asked or 1):
        found = f"{asked} connections" if asked else f"{own} open files"
        where: Path = (*SECTION, "connections_max") if asked else ("limits", "nofile")
        expected = f"at most {most}: of {own or NR_OPEN} open files each takes {sockets}, beside {SPARE_FILES}"
        yield Finding(where, found, expected if asked else f"more than {SPARE_FILES}", (("limits",),))
    short = list(_memory(policy, said))
    yield from short or _bodies(policy, said)


def _ports(policy: Policy, said: Gateway) -> Iterator[Finding]:
    try:
        low, high = ephemeral(policy.kernel or {})
    except ValueError:
        return  # no range: said of it already
    width, room = high - low + 1, derived.headroom(policy)
    for name, to in said.providers.items():
        load = derived.load_of(policy, name)
        if load is None:
            continue
        requests = derived.requests_of(to, load, room)
        connections = derived.connections_of(to, requests, derived.workers(policy))
        clusters = derived.clusters_of(policy, to)
        needed = clusters * taken_ports(connections, 0 if to.protocol == "http2" else load.peak_rps * room)
        if needed > width:
            each = f"{connections} connections + rps × headroom × {REUSED_AFTER} s"
            found = f"{needed} ports of one address ({f'new and old key × ({each})' if clusters > 1 else each})"
            expected = f"at most the {width} of net.ipv4.ip_local_port_range: protocol: http2, or a smaller breaker"
            yield Finding((*SECTION, "providers", name), found, expected, (("capacity",), ("kernel",)))


def _memory(policy: Policy, said: Gateway) -> Iterator[Finding]:
    whole = derived.slice_memory(policy)
    if whole is None:
        return
    beside = derived.beside_heap(policy)
    place: Path = ("slices", derived.SLICE, "memory_max")
    words = f"{beside // MIB} MiB for a second instance while one drains, and for schemas"
    if said.heap_max is not None and said.heap_max + beside > whole:
        expected = f"at most {max(0, whole - beside)}: {'.'.join(map(str, place))} is {whole}, less {words}"
        yield Finding((*SECTION, "heap_max"), f"{said.heap_max} bytes", expected, (place, ("capacity",)))
    elif said.heap_max is None and whole - beside < derived.LEAST_HEAP:
        least = (derived.LEAST_HEAP + beside) // MIB
        expected = f"at least {least}M: {derived.LEAST_HEAP // MIB} MiB of heap, {words}"
        yield Finding(place, f"{whole} bytes", expected, (("capacity",),))


def _bodies(policy: Policy, said: Gateway) -> Iterator[Finding]:
    """Each body is held as a whole: the request to be sent again, the answer so that none arrives that is cut."""
    heap = derived.heap_max(policy)
    for name, to in said.providers.items():
        held = ("request_max",) if to.payload.stream else ("request_max", "response_max")
        for key in held:
            most = getattr(to.payload, key)
            if most > heap:
                path: Path = (*SECTION, "providers", name, "payload", key)
                yield Finding(path, f"{most} bytes", f"less than the heap ({heap} bytes), which holds each body whole")


def cautions(policy: Policy) -> Iterator[Finding]:
    """What may well be meant, and still deserves a word."""
    said, egress = policy.gateway, policy.egress
    if said is None or egress is None:
        return
    if egress.mode == "observe":
        yield Finding(("egress", "mode"), "observe", "enforce: the gateway runs, and nothing makes anybody use it")
    longest = max((derived.total_of(to) for to in said.providers.values()), default=0.0)
    if said.drain < longest:
        expected = f"at least the longest `total` ({longest:g} s): a handover cuts what takes longer"
        yield Finding((*SECTION, "drain"), f"{said.drain:g} s", expected)
    for name, to in said.providers.items():
        if to.load is None and len(said.providers) > 1:
            expected = f"its own: as it is, it has a share of the capacity, 1 of {len(said.providers)}"
            yield Finding((*SECTION, "providers", name, "load"), "nothing", expected)
