"""Whether the ports are the gateway's and can be nobody else's, and the sockets' folders keep others out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway.admin import ports
from hostguard.controls.gateway.asked import listed, listening, not_ours
from hostguard.controls.gateway.envoy.places import HOST
from hostguard.policy.gateway import RUN, Gateway

FIRST_FREE = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
FOLDER_MODE = 0o2750
HELD = "each port is the gateway's, and no account without privileges can take it while the gateway is down"
SOCKETS = "each socket is the gateway's, in a folder that its group alone can enter"


def asks_of_ports(g: Gateway) -> Mapping[str, Any]:
    return {
        "first": {"collect": "text", "path": FIRST_FREE},
        "listeners": {"collect": "listeners"},
        "accounts": {"collect": "accounts", "users": [g.account], "groups": []},
    }


def judges_ports(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    if not g.manage:
        return not_ours(HELD)
    uid, first = said["accounts"]["users"][g.account], int(said["first"])
    held: dict[int, set[int]] = {}
    for row in listening(said["listeners"]):
        if row.address == listed(g):
            held.setdefault(row.port, set()).add(row.uid)
    wanted = ports(g)
    found = [
        f"port {port} is free for any account (net.ipv4.ip_unprivileged_port_start is {first})"
        for port in wanted
        if port >= first
    ]
    for port in wanted:
        found += [f"the account {owner} listens on port {port}" for owner in sorted(held.get(port, set()) - {uid})]
        if port not in held:
            found.append(f"nobody listens on {g.address}:{port}")
    return verdict(HELD, found, f"{len(wanted)} ports on {g.address} are the account {g.account}'s")


def asks_of_sockets(g: Gateway) -> Mapping[str, Any]:
    groups = sorted({up.group for up in g.upstreams if up.group is not None})
    sockets = [path for name, _ in _guarded(g) for path in _paths(name)]
    return {
        "places": {"collect": "places", "paths": [RUN, *(f"{RUN}/{name}" for name, _ in _guarded(g)), *sockets]},
        "answering": {"collect": "unix-listeners", "paths": sockets},
        "accounts": {"collect": "accounts", "users": [g.account], "groups": groups},
    }


def judges_sockets(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    if not g.manage:
        return not_ours(SOCKETS)
    found = [why for name, group in _guarded(g) for why in _of_socket(g, name, group, said)]
    top = said["places"][RUN]
    if top and (top["mode"] & 0o022 or top["uid"] not in (0, said["accounts"]["users"][g.account])):
        found.append(f"{RUN} is open to others, who may put a folder of theirs in the place of ours")
    return verdict(SOCKETS, found, f"{len(_guarded(g))} sockets below {RUN}")


def _guarded(g: Gateway) -> list[tuple[str, str]]:
    """The providers with a socket, each with its group."""
    return [(up.name, up.group) for up in g.upstreams if up.group is not None]


def _paths(provider: str) -> tuple[str, str]:
    """Where applications connect, and what Envoy binds: the kernel knows a socket by the name that it was bound by."""
    return HOST.socket(provider), HOST.bound(provider)


def _of_socket(g: Gateway, name: str, group: str, said: Mapping[str, Any]) -> Iterator[str]:
    folder = f"{RUN}/{name}"
    uid, gid = said["accounts"]["users"][g.account], said["accounts"]["groups"][group]
    there = said["places"][folder]
    if there is None or not there["folder"]:
        yield f"{folder} is not there"
        return
    if (there["uid"], there["gid"]) != (uid, gid):
        yield f"{folder} is {there['uid']}:{there['gid']}'s, not {g.account}:{group}'s"
    if there["mode"] != FOLDER_MODE:
        yield f"{folder} has the mode {there['mode']:04o}, not {FOLDER_MODE:04o}"
    who = sorted({account for path in _paths(name) for account in said["answering"].get(path, [])})
    if who != [g.account]:
        yield f"{HOST.socket(name)} is answered by {' and '.join(who) or 'nobody'}, not by {g.account}"
        return
    shown, bound = (said["places"][path] for path in _paths(name))
    if not shown or not bound or shown["inode"] != bound["inode"]:
        yield f"{HOST.socket(name)} is not the socket that {g.account} answers at"
