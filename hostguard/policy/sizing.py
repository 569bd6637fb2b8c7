"""The numbers that follow from a policy's capacity, each with its formula.

Little's law: what is under way is the rate times the time each takes. Everything else is room around that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hostguard.policy import gateway_numbers
from hostguard.policy.gateway import Gateway, derive
from hostguard.policy.model import Capacity, Policy
from hostguard.policy.numbers import (
    BYTES_A_CONNECTION,
    LEAST_FILES,
    MIB,
    NR_OPEN,
    PORT_RANGE,
    PORTS,
    REUSED_AFTER,
    SOCKETS_A_REQUEST,
    SPARE_FILES,
    Number,
    ephemeral,
    files,
    little,
    memory,
    taken_ports,
)

TIME_WAIT = 60
"""Seconds a closed connection holds its port: TCP_TIMEWAIT_LEN in include/net/tcp.h."""
LEAST_QUEUE, LONGEST_QUEUE = 4096, 65535
"""4096 is the kernel's own default for somaxconn since 5.4; a listener's backlog had 16 bits before 4.x."""
TRACKED_FOR = 120
"""Seconds that connection tracking, which our rules begin, keeps what is closed: nf_conntrack_tcp_timeout_time_wait."""
TRACKED_BY_DEFAULT = 262_144
"""nf_conntrack_max where nobody sets it, on a host with more than 4 GiB (networking/nf_conntrack-sysctl.rst)."""
CONNTRACK_MAX, CONNTRACK_BUCKETS = (f"net.netfilter.nf_conntrack_{what}" for what in ("max", "buckets"))
UNLIMITED = "0"
"""Of CONNTRACK_MAX."""
TRACKED_A_BUCKET = 4
"""nf_conntrack_max for each bucket of its hash table, as Linux had it by itself until 5.14."""


@dataclass(frozen=True)
class Sizing:
    """The numbers in force: derived, or the policy's own. Memory in bytes, None without a capacity.

    `least_files` and `least_ports` are what the capacity needs, whatever the policy sets; without one, the article's.
    `tracked` connections, and the `buckets` for those or the policy's own: None without a capacity, or without rules.
    """

    nofile: int
    least_files: int
    somaxconn: int
    syn_backlog: int
    port_range: tuple[int, int]
    least_ports: int
    file_max: int
    nr_open: int
    tracked: int | None
    buckets: int | None
    concurrency: int | None
    memory_low: int | None
    memory_high: int | None
    gateway: Gateway | None
    numbers: tuple[Number, ...]


def queue(arrivals: float) -> int:
    """The smallest power of two that holds one second of arrivals, from 4096 to 65535."""
    return min(LONGEST_QUEUE, max(LEAST_QUEUE, 1 << math.ceil(math.log2(max(1.0, arrivals)))))


def size(policy: Policy) -> Sizing:
    """Every number of a policy; without a capacity the least that the article asks for."""
    capacity = policy.capacity
    kernel = policy.kernel or {}
    gateway = derive(policy)
    units = len(policy.limits.units) if policy.limits else 0
    rate = capacity.peak_rps * capacity.headroom if capacity else 0.0
    under_way = little(rate, capacity.p99) if capacity else 0
    needed = files(under_way) if capacity else LEAST_FILES
    derived_files = max(LEAST_FILES, needed)
    nofile = (policy.limits and policy.limits.nofile) or derived_files
    nr_open = max(NR_OPEN, nofile)
    file_max = max(NR_OPEN, nofile * (units + 1))
    backlog = queue(rate)
    connections = SOCKETS_A_REQUEST * under_way
    low, high = (memory(connections, each) for each in BYTES_A_CONNECTION)
    ports = ephemeral(kernel)
    tracked = under_way + math.ceil(rate * TRACKED_FOR) if capacity and policy.egress else None
    buckets = _buckets(tracked, kernel) if tracked else None
    numbers = (
        *(_of_capacity(capacity, under_way, rate, ports, (low, high)) if capacity else ()),
        *(_tracked(tracked, buckets, policy.kernel) if tracked and buckets else ()),
        Number(
            "open files",
            derived_files,
            "a process",
            f"max({LEAST_FILES}, {SOCKETS_A_REQUEST} × concurrency + {SPARE_FILES})",
            "LimitNOFILE=, DefaultLimitNOFILE=, PAM nofile",
            str(policy.limits.nofile) if policy.limits and policy.limits.nofile else "",
        ),
        _parameter("fs.nr_open", nr_open, f"max({NR_OPEN}, open files)", kernel),
        _parameter("fs.file-max", file_max, f"max({NR_OPEN}, open files × (services + 1)), {units} named", kernel),
        _parameter("net.core.somaxconn", backlog, _queue_formula(), kernel),
        _parameter("net.ipv4.tcp_max_syn_backlog", backlog, _queue_formula(), kernel),
        Number(
            "ephemeral ports",
            ports[1] - ports[0] + 1,
            "to one address and port",
            "the width of the port range, {}-{}".format(*ports),
            PORT_RANGE,
            kernel.get(PORT_RANGE, ""),
        ),
    )
    if gateway:
        numbers += gateway_numbers.numbers(policy, gateway)
    return Sizing(
        nofile=nofile,
        least_files=needed,
        somaxconn=backlog,
        syn_backlog=backlog,
        port_range=PORTS,
        least_ports=taken_ports(under_way, rate) if capacity else PORTS[1] - PORTS[0] + 1,
        file_max=file_max,
        nr_open=nr_open,
        tracked=tracked,
        buckets=buckets,
        concurrency=under_way if capacity else None,
        memory_low=low if capacity else None,
        memory_high=high if capacity else None,
        gateway=gateway,
        numbers=numbers,
    )


def _queue_formula() -> str:
    return f"rps × headroom × 1 s, up to a power of two, {LEAST_QUEUE} to {LONGEST_QUEUE}"


def _parameter(key: str, value: int, formula: str, kernel: Mapping[str, str]) -> Number:
    return Number(key, value, "", formula, key, kernel.get(key, ""))


def _buckets(tracked: int, kernel: Mapping[str, str]) -> int:
    own = kernel.get(CONNTRACK_MAX, UNLIMITED)
    return math.ceil((tracked if own == UNLIMITED else int(own)) / TRACKED_A_BUCKET)


def _tracked(tracked: int, buckets: int, kernel: Mapping[str, str] | None) -> tuple[Number, ...]:
    """Past its maximum the kernel drops packets of new connections, those that come in too."""
    short = f"more than Linux's own {TRACKED_BY_DEFAULT}: a section `kernel`, an empty one too, sets it"
    note = short if tracked > TRACKED_BY_DEFAULT and kernel is None else ""
    formula = f"concurrency + rps × headroom × {TRACKED_FOR} s in TIME_WAIT"
    own = (kernel or {}).get(CONNTRACK_MAX, "")
    return (
        Number("tracked connections", tracked, "", formula, CONNTRACK_MAX, own, note),
        _parameter(CONNTRACK_BUCKETS, buckets, f"{CONNTRACK_MAX} / {TRACKED_A_BUCKET}", kernel or {}),
    )


def _of_capacity(
    capacity: Capacity, under_way: int, rate: float, ports: tuple[int, int], memory: tuple[int, int]
) -> tuple[Number, ...]:
    width = ports[1] - ports[0] + 1
    reused = taken_ports(under_way, rate)
    held = under_way + math.ceil(rate * TIME_WAIT)
    short = f"more than the {width} there are: pool connections, or add provider addresses"
    little = f"rps × p99 × headroom = {capacity.peak_rps:g} × {capacity.p99:g} s × {capacity.headroom:g}"
    low, high = memory
    return (
        Number("concurrency", under_way, "requests under way", little),
        Number(
            "ports needed",
            reused,
            "to one address and port",
            f"concurrency + rps × headroom × {REUSED_AFTER} s (tcp_tw_reuse = 1)",
            note=short if reused > width else f"of the {width} there are",
        ),
        Number(
            "ports without reuse",
            held,
            "to one address and port",
            f"concurrency + rps × headroom × {TIME_WAIT} s in TIME_WAIT",
            note=f"more than the {width} there are: tcp_tw_reuse is needed" if held > width else "",
        ),
        Number("memory, least", low // MIB, "MiB", "2 × concurrency × 16 KiB + 64 MiB"),
        Number(
            "memory, most",
            high // MIB,
            "MiB",
            "2 × concurrency × 64 KiB + 64 MiB",
            "MemoryMax= where a slice names none",
        ),
    )
