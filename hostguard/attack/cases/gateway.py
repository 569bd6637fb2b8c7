"""Who may not use the gateway, and tries: its ports, its sockets, its admin. How far who may use it comes by it is a
matter of its configuration, which the tests of that try."""

from __future__ import annotations

from functools import partial
from typing import Any

from hostguard.attack.case import Case, Holds, Who, case

PORT = "a port's chain lets its provider's accounts past, and refuses all others"
FOLDER = "the socket's folder is its group's alone"
ADMIN = "the admin's folder is the proxy's account's alone"
BELOW = "below net.ipv4.ip_unprivileged_port_start a listener needs CAP_NET_BIND_SERVICE"

of_gateway = partial(case, layer="gateway", families=(4,), harmless=True)


def port(id: str, who: Who, tries: str = "a provider's port", **more: Any) -> Case:
    return of_gateway(f"gateway.port-{id}", who, tries, "local", PORT, **{"to": ("port",), **more})


def socket(id: str, who: Who, **more: Any) -> Case:
    tries = "a provider's socket"
    return of_gateway(f"gateway.socket-{id}", who, tries, "unix", FOLDER, to=("socket",), holds=Holds.FOLDER, **more)


CASES: tuple[Case, ...] = (
    port("stranger", "application"),
    port("neighbour", "neighbour"),
    port("root", "root"),
    port("proxy", "proxy"),
    port("mapped", "application", "a provider's port, as an IPv6 address (::ffff:127.0.0.84)", mapped=True),
    port("metrics", "application", "the metrics", to=("metrics",)),
    port("metrics-neighbour", "neighbour", "the metrics", to=("metrics",)),
    socket("stranger", "application"),
    socket("neighbour", "neighbour"),
    of_gateway("gateway.admin-stranger", "application", "the admin's socket", "unix", ADMIN, to=("admin",),
               holds=Holds.FOLDER),
    of_gateway("gateway.admin-neighbour", "neighbour", "the admin's socket", "unix", ADMIN, to=("admin",),
               holds=Holds.FOLDER),
    of_gateway("gateway.squat", "application", "a listener on a provider's port, in the gateway's place", "bind", BELOW,
               to=("port",), holds=Holds.KERNEL),
    of_gateway("gateway.squat-neighbour", "neighbour", "a listener on a provider's port, in the gateway's place",
               "bind", BELOW, to=("port",), holds=Holds.KERNEL),
)  # fmt: skip
