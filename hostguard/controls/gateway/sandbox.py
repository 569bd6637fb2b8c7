"""What the running proxy may do, by its processes: a unit that asks for less binds only what was started by it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway.asked import not_ours
from hostguard.policy.gateway import Gateway

EXPECTED = "the running proxy has one capability, a filter of system calls, nothing to write to and no way to gain more"
NET_BIND_SERVICE = 1 << 10


def asks(g: Gateway) -> Mapping[str, Any]:
    return {
        "processes": {"collect": "envoy-processes", "admin": g.admin},
        "accounts": {"collect": "accounts", "users": [g.account], "groups": []},
    }


def judges(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    if not g.manage:
        return not_ours(EXPECTED)
    uid, running = said["accounts"]["users"][g.account], said["processes"]
    found = [f"process {each['pid']} {why}" for each in running for why in _free(each, uid, g.account)]
    if not running:
        found = [f"nobody answers at {g.admin}"]
    return verdict(EXPECTED, found, f"process {', '.join(str(each['pid']) for each in running)}")


def _free(running: Mapping[str, Any], uid: int | None, account: str) -> Iterator[str]:
    if running["uid"] != uid:
        yield f"acts as the account {running['uid']}, not as {account}"
    if running["capabilities"] & ~NET_BIND_SERVICE:
        yield f"may have more capabilities than CAP_NET_BIND_SERVICE ({running['capabilities']:#x})"
    if not running["no_new_privileges"]:
        yield "may gain privileges (NoNewPrivileges= is off)"
    if not running["filtered"]:
        yield "may call all of the kernel (no SystemCallFilter=)"
    if not running["read_only"]:
        yield "may write the host's files (no ProtectSystem=strict)"
    if running["dumps"]:
        yield "leaves its memory on a disk when it crashes (LimitCORE= is not 1)"
