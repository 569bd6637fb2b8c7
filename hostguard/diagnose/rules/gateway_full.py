"""The gateway has no room: for a connection more, or in its memory."""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.diagnose.gateway import asks_of_state, concerns, gateway, many, seconds
from hostguard.diagnose.rule import Asked, Finding, Rule, Said

FULL = 0.8
"""Of the limit."""
ACTION = "overload.envoy.overload_actions.stop_accepting_requests.active"


def judges(asked: Asked, said: Said) -> Iterator[Finding]:
    g, own = gateway(asked), said["state"]["own"]
    if g is None or not g.manage:
        return
    active, refused = own.get("downstream_cx_active", 0), own.get("downstream_global_cx_overflow", 0)
    near, up_for = active >= FULL * g.connections_max, own.get("server.uptime", 0)
    if near or refused:
        old = not near and up_for > asked.since
        yield Finding(
            subject="the gateway",
            seen=f"{many(active, 'connection')} of applications are open, of {g.connections_max}; "
            f"{many(refused, 'connection')} refused since it was started {seconds(up_for)} ago",
            where="listener.*.downstream_cx_active, .downstream_global_cx_overflow at the admin's /stats",
            means="above the limit a connection is closed at once, before its request is read: applications see a "
            "reset, "
            "and the log has no line of it",
            mend="find who opens so many (`ss -tnp dst " + g.address + "`): a client that keeps no connection, or a "
            "pool "
            "without an end. If they are all wanted, raise the limit, which follows from `capacity`",
            key=("gateway", "connections_max"),
            unsure="the refused ones may be older: they are counted since it was started" if old else "",
            concerns=concerns(*g.upstreams),
        )
    if own.get(ACTION, 0):
        yield Finding(
            subject="the gateway",
            seen=f"its heap is at {own.get('overload.envoy.resource_monitors.fixed_heap.pressure', 0)} % of "
            f"{g.heap_max >> 20} MiB, and it takes no request",
            where=f"{ACTION} 1 at the admin's /stats",
            means="every request is answered with 503 at once, until memory is free again",
            mend="raise the heap, and `memory_max` of its slice with it; or lower what one request may hold "
            "(`payload.request_max`, `payload.response_max`)",
            key=("gateway", "heap_max"),
            concerns=concerns(*g.upstreams),
        )


RULE = Rule(
    id="gateway-full",
    title="The gateway is full",
    symptoms=(
        "Connection reset by peer at the gateway's own address",
        "ECONNRESET",
        "HostguardGatewayFull",
        "HostguardGatewayOverloaded",
    ),
    article="",
    by_hand="""\
curl --unix-socket /run/hostguard-gateway/admin/admin.sock 'http://admin/stats?filter=downstream_(cx_active|global_cx)'
ss -tn dst 127.0.0.84""",
    means="The gateway takes `connections_max` connections of all applications together, so that a crowd at one "
    "provider leaves memory for the others. What comes beyond is closed at once.",
    mend="`gateway.connections_max` is the number; left out, it is twice what the breakers allow, and follows from "
    "`capacity`. It needs open files (`limits.nofile`) and memory: `hostguard size` derives both.",
    looks_at=f"connections of applications, against {FULL:.0%} of gateway.connections_max, and its heap",
    asks=asks_of_state,
    judges=judges,
)
