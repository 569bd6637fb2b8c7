"""What may have changed a host since its last apply: what is certain of that, and no guess.

Where a file sets what is not as it was applied, the file is named, with the time of its last change, its owner and
its package; where the rules changed, the services that may write rules, and when they were started.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any, Dict, List, Optional

from . import snapshot, store, systemctl
from .facts import account_of
from .kinds import IN_THE_KERNEL, trait
from .program import find, run
from .resource import Difference, HostError, Observation, Resource

RULE_WRITERS = (
    "docker", "fail2ban", "firewalld", "ip6tables", "iptables", "libvirtd", "netfilter-persistent", "nftables", "ufw",
)  # fmt: skip
DPKG_STATUS = "/var/lib/dpkg/status"


def take() -> Dict[str, Any]:
    """A snapshot of what the last apply wanted, its generation, and the traces of whatever is different now."""
    record = store.current()
    if record is None:
        raise HostError("no generation is in force, so nothing can have drifted (see `hostguard history`)")
    resources: List[Resource] = list(record["wanted"].values())
    seen = snapshot.look(resources)
    differences = {r["id"]: snapshot.differ(r, seen[r["id"]]) for r in resources}
    changed = [r for r in resources if differences[r["id"]]]
    setters = {r["id"]: setters_of(r, seen[r["id"]], differences[r["id"]]) for r in changed}
    rules = any(r["kind"] in IN_THE_KERNEL for r in changed)
    return {
        "generation": {
            "number": record["number"],
            "created": record["created"],
            "policy": {key: record["policy"][key] for key in ("path", "sha256")},
        },
        "resources": resources,
        "observations": {identity: list(observation) for identity, observation in seen.items()},
        "leftovers": [],
        "evidence": {},
        "traces": {
            "setters": setters,
            "files": files({path_of(place) for places in setters.values() for place in places.values()}),
            "started": started() if rules else {},
        },
    }


def setters_of(resource: Resource, seen: Observation, found: List[Difference]) -> Dict[str, str]:
    """The file (and line, path:line) that sets each field that differs, where there is one."""
    setters, fields = trait(resource["kind"], "setters"), {difference.field for difference in found}
    places = setters(resource, seen, fields) if setters else {}
    return {field: place for field, place in places.items() if place and field in fields}


def path_of(place: str) -> str:
    """A place without its line."""
    return re.sub(r":[0-9]+$", "", place)


def files(paths: "set[str]") -> Dict[str, Dict[str, Any]]:
    """When each was last changed, in content or rights, whose it is, and its package ("": none; None: not known).

    The change time, since the modification time is whatever a copy or `touch` says. What is gone is left out.
    """
    found = {}
    for path in sorted(paths):
        try:
            status = os.lstat(path)
        except OSError:
            continue
        found[path] = {
            "changed": _words(status.st_ctime),
            "owner": account_of(status.st_uid),
            "package": _package(path),
        }
    return found


def _words(moment: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


def _package(path: str) -> Optional[str]:
    if find("dpkg") and os.path.exists(DPKG_STATUS) and os.path.getsize(DPKG_STATUS):
        return _of_dpkg(path)
    # Not beside dpkg: where rpm is a mere tool, asking it makes a database.
    return _of_rpm(path) if find("rpm") else None


def _of_dpkg(path: str) -> Optional[str]:
    """With /usr merged, dpkg knows a file by the name that its package has it by."""
    merged = "/usr" + path if path.startswith("/lib/") else path[4:] if path.startswith("/usr/lib/") else path
    done = run(["dpkg", "--search", path, merged], check=False)
    if done.returncode not in (0, 1):
        return None
    owners = [line.partition(": ") for line in done.stdout.splitlines()]
    return next((owner for owner, _, owned in owners if owned in (path, merged) and " from" not in owner), "")


def _of_rpm(path: str) -> Optional[str]:
    done = run(["rpm", "--query", "--queryformat", "%{NAME}\n", "--file", path], check=False)
    if done.returncode == 0:
        return done.stdout.split()[0]
    return None if done.stderr.strip() else ""


def started() -> Dict[str, str]:
    """The active services that may write rules, and when each became active."""
    if not systemctl.systemd_runs():
        return {}
    found = {}
    for name, shown in systemctl.show([name + ".service" for name in RULE_WRITERS], ["ActiveEnterTimestamp"]).items():
        if shown.get("ActiveState") == "active":
            moment = shown.get("ActiveEnterTimestamp", "").split()  # Tue 2026-11-24 14:14:48 UTC
            if len(moment) == 4:
                found[name] = "{}T{}Z".format(moment[1], moment[2])
    return found
