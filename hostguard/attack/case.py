"""A case: one way out of a host, who tries it, and what holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

Who = Literal["application", "proxy", "asker", "root", "admin", "container", "peer", "neighbour", "user"]
WHO: Mapping[Who, str] = {
    "application": "an account that the policy does not name, and no capability",
    "proxy": "the account that may reach the providers; without one, any",
    "asker": "an account that may ask the resolvers",
    "root": "root as a container's default has it: CAP_NET_RAW and no CAP_NET_ADMIN",
    "admin": "root with CAP_NET_ADMIN, who adds links and routes and leaves the rules alone",
    "container": "what sends through the host: a container, or a namespace of root's own",
    "peer": "somebody outside who begins, and is answered",
    "neighbour": "an account that may use another provider of the gateway's",
    "user": "an account that may use the provider of the gateway's",
}
Layer = Literal[
    "TCP", "UDP", "ICMP", "other protocols", "crafted IP", "frames", "forwarded", "answers", "flows", "names",
    "gateway", "requests",
]  # fmt: skip
To = Literal[
    "enemy", "provider", "resolver", "time server", "peer", "neighbour", "broadcast", "subnet broadcast", "link-local",
    "metadata", "mdns", "ssdp", "site multicast", "global multicast", "all hosts", "all routers", "listeners", "vrrp",
    "port", "metrics", "socket", "admin", "listener",
]  # fmt: skip


class Holds(StrEnum):
    RULES = "rules"
    """Our chains in OUTPUT and FORWARD."""
    FRAMES = "frames"
    """nftables' hook on the way out of an interface (kernel 5.16), which sees what passes no chain."""
    FOLDER = "folder"
    """Owner, group and mode of the folder of a socket."""
    KERNEL = "kernel"
    """What the kernel refuses by itself."""
    GATEWAY = "gateway"
    """What the gateway is told: a listener leads to its provider, and takes requests that can be read in one way."""
    NOTHING = "nothing"
    """Nothing of ours: it is tried, and shown as what it is."""


@dataclass(frozen=True)
class Case:
    """`way` and `options` are what hostguard/host/attack fires; `leg` is the namespace that fires it, not the host."""

    id: str
    who: Who
    layer: Layer
    tries: str
    held_by: str
    way: str
    to: tuple[To, ...] = ("enemy",)
    port: int = 443
    families: tuple[int, ...] = (4, 6)
    options: Mapping[str, Any] = field(default_factory=dict)
    holds: Holds = Holds.RULES
    leg: str = ""
    count: int = 1
    """How many packets it takes: all of them must be seen before any can be thought held."""
    harmless: bool = False
    """One small packet that asks nothing of anybody: it may be tried on a host in service."""


DEFAULT = "OUTPUT's default is DROP: no rule names the destination"
ACCOUNT = "the destination's set is its account's alone"
"""Texts that many cases share."""


def case(id: str, who: Who, tries: str, way: str = "", held_by: str = DEFAULT, *, layer: Layer, **more: Any) -> Case:
    options = {key: more.pop(key) for key in list(more) if key not in Case.__dataclass_fields__}
    return Case(id, who, layer, tries, held_by, way, options=options, **more)
