"""Who may not use the gateway, and tries: its ports, its sockets, its admin, its place. The file of requests has what
an account asks there that may use it."""

from __future__ import annotations

from functools import partial
from typing import Any

from hostguard.attack.case import Case, Holds, Who, case

PORT = "a port's chain lets its provider's accounts past, and refuses all others"
FOLDER = "the socket's folder is its group's alone"
ADMIN = "the admin's folder is the proxy's account's alone"
ONE_ADMIN = "the admin is a socket: its account listens on no TCP port but its providers'"
ROOT = "nothing: root passes the modes of folders (CAP_DAC_OVERRIDE), and is who owns the host"
BELOW = "below net.ipv4.ip_unprivileged_port_start a listener needs CAP_NET_BIND_SERVICE"

of_gateway = partial(case, layer="gateway", families=(4,), harmless=True)


def port(id: str, who: Who, tries: str = "a provider's port", held_by: str = PORT, **more: Any) -> Case:
    return of_gateway(f"gateway.port-{id}", who, tries, "local", held_by, **{"to": ("port",), **more})


def socket(id: str, who: Who, held_by: str = FOLDER, **more: Any) -> Case:
    return of_gateway(f"gateway.socket-{id}", who, "a provider's socket", "unix", held_by, to=("socket",),
                      **{"holds": Holds.FOLDER, **more})  # fmt: skip


def admin(id: str, who: Who, held_by: str = ADMIN, **more: Any) -> Case:
    return of_gateway(f"gateway.admin-{id}", who, "the admin's socket", "unix", held_by, to=("admin",),
                      **{"holds": Holds.FOLDER, **more})  # fmt: skip


def squat(id: str, who: Who, **more: Any) -> Case:
    tries = "a listener on a provider's port, in the gateway's place"
    return of_gateway(f"gateway.squat{id}", who, tries, "bind", BELOW, to=("port",), holds=Holds.KERNEL, **more)


def squat_socket(id: str, who: Who) -> Case:
    tries = "a socket beside a provider's, to take its name"
    return of_gateway(f"gateway.squat-socket-{id}", who, tries, "bind", FOLDER, to=("socket",), holds=Holds.FOLDER)


CASES: tuple[Case, ...] = (
    port("stranger", "application"),
    port("neighbour", "neighbour"),
    port("root", "root"),
    port("proxy", "proxy"),
    port("container", "container", "a provider's port, with the host's network", contained=True),
    port(
        "routed",
        "container",
        "a provider's port, by a route to loopback (route_localnet)",
        leg="loopback",
        held_by="what another device brings for the gateway's address is dropped",
        harmless=False,
        within=0.3,
    ),
    port("mapped", "application", "a provider's port, as an IPv6 address (::ffff:127.0.0.84)", mapped=True),
    port("metrics", "application", "the metrics", to=("metrics",)),
    port("metrics-neighbour", "neighbour", "the metrics", to=("metrics",)),
    socket("stranger", "application"),
    socket("neighbour", "neighbour"),
    socket("container", "container", contained=True),
    socket("root", "root", ROOT, holds=Holds.NOTHING),
    admin("stranger", "application"),
    admin("neighbour", "neighbour"),
    admin("user", "user"),
    admin("container", "container", contained=True),
    admin("root", "root", ROOT, holds=Holds.NOTHING),
    of_gateway(
        "gateway.admin-tcp",
        "application",
        "the admin on a TCP port",
        "admin",
        ONE_ADMIN,
        to=("admin",),
        holds=Holds.GATEWAY,
    ),
    squat("", "application"),
    squat("-neighbour", "neighbour"),
    squat("-user", "user"),
    squat_socket("stranger", "application"),
    squat_socket("user", "user"),
)
