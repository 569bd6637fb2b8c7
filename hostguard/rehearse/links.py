"""The wires of the stage: a host between the world and namespaces behind and beside it."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

from hostguard.attack.aim import Link

HOST, WORLD = "198.18.0.1", "198.18.0.2"
HOST_V6, WORLD_V6 = "fd68:6f73:7467::1", "fd68:6f73:7467::2"
ON_THE_LINK = ("198.18.0.5", "fd68:6f73:7467::5")
"""Of whoever hangs on the host's interface beside it."""
LINK_LOCAL = "fe80::66"
LINK = Link("198.18.0.7", (WORLD, WORLD_V6))
LENGTHS = {4: 29, 6: 64}
IFA_F_NODAD = 0x02  # without it an address is tentative for a second
LOCAL_TABLE, LOOPBACK_TABLE = 255, 7
PERMANENT = 0x80  # NUD_PERMANENT: no packet ever waits for an answer to "who has"


def has_ipv6() -> bool:
    return Path("/proc/sys/net/ipv6").exists()


def behind(number: int) -> tuple[str, str, str, str]:
    """A link of the host's own: its end and the other, of both families."""
    v4, v6 = f"198.18.{number}", f"fd68:6f73:7467:{number}:"
    return f"{v4}.1", f"{v6}:1", f"{v4}.2", f"{v6}:2"


def index(route: IPRoute, interface: str) -> int:
    return int(route.link_lookup(ifname=interface)[0])


def up(interface: str) -> None:
    with IPRoute() as route:
        route.link("set", index=index(route, interface), state="up")


def wire(here: str, there: str, pid: int) -> None:
    """A pair of interfaces, one end in the network namespace of process `pid`."""
    with IPRoute() as route:
        route.link("add", ifname=here, kind="veth", peer={"ifname": there, "net_ns_pid": pid})


def leg(name: str, pid: int, on: str | None, **kind: Any) -> None:
    """An interface of some kind, on another one, given to the namespace of process `pid`."""
    with IPRoute() as route:
        lower = {"link": index(route, on)} if on else {}
        route.link("add", ifname=name, **lower, **kind)
        route.link("set", index=index(route, name), net_ns_pid=pid)


def remove(interface: str) -> None:
    with IPRoute() as route:
        route.link("del", index=index(route, interface))


def address(interface: str, v4: str, v6: str) -> None:
    with IPRoute() as route:
        at = index(route, interface)
        everybody = str(ipaddress.ip_interface(f"{v4}/{LENGTHS[4]}").network.broadcast_address)
        route.addr("add", index=at, address=v4, prefixlen=LENGTHS[4], broadcast=everybody)
        if has_ipv6():
            route.addr("add", index=at, address=v6, prefixlen=LENGTHS[6], flags=IFA_F_NODAD)
        route.link("set", index=at, state="up")


def peer(interface: str, hardware: bytes, *addresses: str) -> None:
    """Who is at the other end, for good: so a packet leaves in the call that sends it."""
    written = ":".join(f"{byte:02x}" for byte in hardware)
    with IPRoute() as route:
        at = index(route, interface)
        for to in addresses:
            if has_ipv6() or ":" not in to:
                route.neigh("replace", dst=to, lladdr=written, ifindex=at, state=PERMANENT)


def default_route(v4: str, v6: str) -> None:
    with IPRoute() as route:
        route.route("add", dst="default", gateway=v4)
        if has_ipv6():
            route.route("add", dst="default", gateway=v6, family=socket.AF_INET6)


def be_everywhere(interface: str) -> None:
    """Let this namespace own every address there is, but for the host's: so any provider is here."""
    with IPRoute() as route:
        loopback, wired = index(route, "lo"), index(route, interface)
        ends: list[tuple[str, str, dict[str, Any]]] = [("0.0.0.0/0", f"{HOST}/32", {})]
        if has_ipv6():
            ends.append(("::/0", f"{HOST_V6}/128", {"family": socket.AF_INET6}))
        for everything, host, more in ends:
            route.route("add", dst=everything, oif=loopback, table=LOCAL_TABLE, type="local", scope="host", **more)
            route.route("add", dst=host, oif=wired, table=LOCAL_TABLE, scope="link", **more)


def forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    if has_ipv6():
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1", encoding="ascii")


def let_loopback_in(interface: str) -> None:
    for name in ("all", interface):
        Path(f"/proc/sys/net/ipv4/conf/{name}/route_localnet").write_text("1", encoding="ascii")


def route_to_loopback(interface: str, to: str, gateway: str, source: str) -> None:
    """Send what is for an address of 127/8 out of an interface, and take the answers."""
    let_loopback_in(interface)
    with IPRoute() as route:
        # The kernel's own table is asked first, and knows the address as ours.
        route.rule("add", table=LOCAL_TABLE, priority=1)
        route.rule("del", table=LOCAL_TABLE, priority=0)
        route.rule("add", table=LOOPBACK_TABLE, priority=0, dst=to, dst_len=32)
        route.route("add", dst=f"{to}/32", gateway=gateway, oif=index(route, interface), prefsrc=source,
                    table=LOOPBACK_TABLE)  # fmt: skip


def barrier() -> None:
    """What was put on any wire before this call has been dealt with when it returns.

    All of the stage runs on one CPU, whose queue of received packets is one for all interfaces and namespaces: a
    packet over loopback stands in it behind all that was sent before.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.bind(("127.0.0.1", 0))
        own.sendto(b"-", own.getsockname())
        own.recv(1)
