"""A derived number, and the formulas that a host and its gateway share (pure).

Little's law: what is under way is the rate times the time each takes. Everything else is room around that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

KIB, MIB = 1024, 1024**2
LEAST_FILES = 65535
"""The article's minimum (ulimit -n 65535)."""
SPARE_FILES = 1024
"""Logs, listeners, the event loop, resolver sockets: what a proxy opens beside its connections."""
SOCKETS_A_REQUEST = 2
"""A proxy holds one to its client and one to the provider."""
BYTES_A_CONNECTION = (16 * KIB, 64 * KIB)
"""The article's range for a TLS connection, its buffers included."""
BASE_MEMORY = 64 * MIB
NR_OPEN = 1_048_576
"""The kernel's own default for fs.nr_open."""
PORT_RANGE = "net.ipv4.ip_local_port_range"
PORTS = (10240, 65535)
REUSED_AFTER = 1
"""Seconds after which tcp_tw_reuse takes the port of a closed connection again."""


@dataclass(frozen=True)
class Number:
    """One derived number: what it is for, what it came from, what the policy says instead (`set_to`)."""

    name: str
    value: int
    unit: str
    formula: str
    overrides: str = ""
    """What apply sets with it."""
    set_to: str = ""
    note: str = ""


def up(amount: float) -> int:
    """The next whole number, of a product whose last digits are the machine's."""
    return math.ceil(round(amount, 6))


def little(rate: float, seconds: float) -> int:
    """What is under way at once, by Little's law: so many a second, each for so long."""
    return up(rate * seconds)


def files(connections: int, sockets: int = SOCKETS_A_REQUEST) -> int:
    """The open files of a proxy that has so many connections of its clients, and so many `sockets` for each."""
    return sockets * connections + SPARE_FILES


def memory(connections: int, each: int) -> int:
    """Bytes that a proxy's connections take, each so many, up to whole MiB."""
    return math.ceil((connections * each + BASE_MEMORY) / MIB) * MIB


def taken_ports(under_way: int, rate: float) -> int:
    """The ports to one address that are taken at the peak, where tcp_tw_reuse gives them back."""
    return under_way + math.ceil(rate * REUSED_AFTER)


def ephemeral(kernel: Mapping[str, str]) -> tuple[int, int]:
    """The port range in force: the policy's own, or ours."""
    low, high = kernel.get(PORT_RANGE, "{} {}".format(*PORTS)).split()
    return int(low), int(high)
