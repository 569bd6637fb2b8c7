"""What judges of the gateway ask of a host, and the gateway that they judge by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hostguard.control import Context, Verdict
from hostguard.policy import gateway
from hostguard.policy.gateway import Gateway

MOST_SHOWN = 5


def of(context: Context) -> Gateway:
    found = gateway.derive(context.policy)
    if found is None:
        raise ValueError("the policy has no section `gateway`: its controls must not be asked")
    return found


def envoy(g: Gateway, *targets: str) -> Mapping[str, Any]:
    return {"envoy": {"collect": "envoy", "admin": g.admin, "targets": list(targets)}}


def verdict(expected: str, found: Sequence[str], well: str) -> Verdict:
    """It fails for whatever was found."""
    if not found:
        return Verdict("pass", expected, well)
    more = f"; and {len(found) - MOST_SHOWN} more" if len(found) > MOST_SHOWN else ""
    return Verdict("fail", expected, "; ".join(found[:MOST_SHOWN]) + more)


def not_ours(expected: str) -> Verdict:
    return Verdict("not_applicable", expected, "gateway.manage is false: how it is started is somebody else's to say")


def listening(tables: Mapping[str, str | None]) -> list[tuple[str, int, int]]:
    """Address as the table has it, port and account of each TCP socket that listens, by /proc/net/tcp and tcp6."""
    found = []
    for name in ("tcp", "tcp6"):
        for row in map(str.split, (tables[name] or "").splitlines()[1:]):
            address, _, port = row[1].rpartition(":")
            if row[3] == LISTEN:
                found.append((address, int(port, 16), int(row[7])))
    return found


LISTEN = "0A"  # include/net/tcp_states.h
