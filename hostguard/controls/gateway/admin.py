"""Whether the admin of the proxy is root's and its own alone: whoever reaches it stops the proxy, or reads its
settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway import dump
from hostguard.controls.gateway.asked import envoy, listed, listening
from hostguard.policy.gateway import Gateway

EXPECTED = "the admin is a Unix socket of the proxy's account alone, and does nothing that stops or changes the proxy"
CHANGES = (
    "/quitquitquit", "/healthcheck/fail", "/runtime_modify", "/logging", "/reset_counters", "/cpuprofiler",
    "/heapprofiler", "/heap_dump", "/allocprofiler", "/contention", "/init_dump", "/tap",
)  # fmt: skip
"""What ends it, changes it, or tells of what passes through it."""


def asks(g: Gateway) -> Mapping[str, Any]:
    return {
        **envoy(g, "config_dump"),
        "places": {"collect": "places", "paths": [_folder(g), g.admin]},
        "accounts": {"collect": "accounts", "users": [g.account], "groups": []},
        "listeners": {"collect": "listeners"},
    }


def judges(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    found = [*_configured(said["envoy"]["config_dump"]), *_of_files(g, said)]
    if g.manage:
        found += _elsewhere(g, said)
    return verdict(EXPECTED, found, f"{g.admin} is the account {g.account}'s alone")


def _configured(told: Mapping[str, Any]) -> Iterator[str]:
    admin = dump.bootstrap(told).get("admin", {})
    place = admin.get("address", {}).get("socket_address")
    if place:
        yield f"the admin listens on TCP, at {place['address']}:{place['port_value']}: any account reaches it"
    allowed = admin.get("allow_paths", [])
    if not allowed:
        yield "`allow_paths` is left out: the admin does all that Envoy can"
    open_ = [path for path in CHANGES if any(dump.taken(matcher, path) for matcher in allowed)]
    if open_:
        yield f"`allow_paths` lets {', '.join(open_)} through"


def _of_files(g: Gateway, said: Mapping[str, Any]) -> Iterator[str]:
    """The socket, and the folder that guards it between bind and chmod."""
    folder, uid = _folder(g), said["accounts"]["users"][g.account]
    for path, what in ((folder, "folder"), (g.admin, "socket")):
        there = said["places"][path]
        if there is None:
            yield f"{path} is not there"
        elif there["uid"] not in (uid, 0):
            yield f"the {what} {path} is the account {there['uid']}'s"
        elif path == g.admin and there["mode"] & 0o077:
            yield f"the socket {path} is open to others ({there['mode']:04o})"
    guard = said["places"][folder]
    if g.manage and guard and guard["mode"] & 0o077:
        yield f"the folder {folder} is open to others ({guard['mode']:04o})"


def _folder(g: Gateway) -> str:
    return g.admin.rpartition("/")[0] or "/"


def _elsewhere(g: Gateway, said: Mapping[str, Any]) -> Iterator[str]:
    uid = said["accounts"]["users"][g.account]
    wanted = {(listed(g), port) for port in ports(g)}
    for row in listening(said["listeners"]):
        if row.uid == uid and (row.address, row.port) not in wanted:
            yield f"the account {g.account} listens on port {row.port} too, which is no provider's"


def ports(g: Gateway) -> list[int]:
    """Every port that it listens on."""
    own = [g.metrics_listen] if g.metrics_listen is not None else []
    return [*(up.listen for up in g.upstreams if up.listen is not None), *own]
