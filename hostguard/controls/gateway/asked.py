"""What judges of the gateway ask of a host, and the gateway that they judge by."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from hostguard.control import Context, Verdict
from hostguard.host import proc_net
from hostguard.policy.gateway import Gateway


def of(context: Context) -> Gateway:
    if context.sizing.gateway is None:
        raise ValueError("the policy has no section `gateway`: its controls must not be asked")
    return context.sizing.gateway


def envoy(g: Gateway, *targets: str) -> Mapping[str, Any]:
    return {"envoy": {"collect": "envoy", "admin": g.admin, "targets": list(targets)}}


def not_ours(expected: str) -> Verdict:
    return Verdict("not_applicable", expected, "gateway.manage is false: how it is started is somebody else's to say")


def listening(tables: Mapping[str, str | None]) -> list[proc_net.Row]:
    """Each TCP socket that listens, by /proc/net/tcp and tcp6."""
    rows = (row for name in ("tcp", "tcp6") for row in proc_net.rows(tables[name] or ""))
    return [row for row in rows if row.state == proc_net.LISTEN]


def listed(g: Gateway) -> str:
    """The gateway's address as these tables have it."""
    return proc_net.listed(ipaddress.ip_address(g.address).packed)
