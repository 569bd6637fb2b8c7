"""The wires of the stage: a host between the world and a container, in three network namespaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyroute2 import IPRoute

HOST, WORLD, HOST_TO_CONTAINER, CONTAINER = "198.18.0.1", "198.18.0.2", "198.18.1.1", "198.18.1.2"
HOST_V6, WORLD_V6 = "fd68:6f73:7467::1", "fd68:6f73:7467::2"
HOST_TO_CONTAINER_V6, CONTAINER_V6 = "fd68:6f73:7467:1::1", "fd68:6f73:7467:1::2"
IFA_F_NODAD = 0x02  # without it an address is tentative for a second
LOCAL_TABLE = 255
PERMANENT = 0x80  # NUD_PERMANENT: no packet ever waits for an answer to "who has"


def has_ipv6() -> bool:
    return Path("/proc/sys/net/ipv6").exists()


def up(interface: str) -> None:
    with IPRoute() as route:
        route.link("set", index=route.link_lookup(ifname=interface)[0], state="up")


def wire(here: str, there: str, pid: int) -> None:
    """A pair of interfaces, one end in the network namespace of process `pid`."""
    with IPRoute() as route:
        route.link("add", ifname=here, kind="veth", peer={"ifname": there, "net_ns_pid": pid})


def address(interface: str, v4: str, v6: str) -> None:
    with IPRoute() as route:
        index = route.link_lookup(ifname=interface)[0]
        route.addr("add", index=index, address=v4, prefixlen=30)
        if has_ipv6():
            route.addr("add", index=index, address=v6, prefixlen=64, flags=IFA_F_NODAD)
        route.link("set", index=index, state="up")


def peer(interface: str, hardware: bytes, v4: str, v6: str) -> None:
    """Who is at the other end, for good: so a packet leaves in the call that sends it."""
    written = ":".join(f"{byte:02x}" for byte in hardware)
    with IPRoute() as route:
        index = route.link_lookup(ifname=interface)[0]
        for to in (v4, v6) if has_ipv6() else (v4,):
            route.neigh("replace", dst=to, lladdr=written, ifindex=index, state=PERMANENT)


def default_route(v4: str, v6: str) -> None:
    with IPRoute() as route:
        route.route("add", dst="default", gateway=v4)
        if has_ipv6():
            route.route("add", dst="default", gateway=v6, family=10)


def be_everywhere(interface: str) -> None:
    """Let this namespace own every address there is, but for the host's: so any provider is here."""
    with IPRoute() as route:
        loopback, wired = route.link_lookup(ifname="lo")[0], route.link_lookup(ifname=interface)[0]
        ends: list[tuple[str, str, dict[str, Any]]] = [("0.0.0.0/0", f"{HOST}/32", {})]
        if has_ipv6():
            ends.append(("::/0", f"{HOST_V6}/128", {"family": 10}))
        for everything, host, more in ends:
            route.route("add", dst=everything, oif=loopback, table=LOCAL_TABLE, type="local", scope="host", **more)
            route.route("add", dst=host, oif=wired, table=LOCAL_TABLE, scope="link", **more)


def forward() -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
    if has_ipv6():
        Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("1", encoding="ascii")
