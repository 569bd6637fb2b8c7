"""A systemd unit: what systemd itself says of it, after all its files and drop-ins.

`unit` "" is the manager, for the defaults of system.conf. A later drop-in of somebody else's that undoes ours
shows here, since systemd names the value that won.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List

from .. import cgroup
from ..program import run
from ..resource import VALUE, Difference, HostError, Observation, Resource, not_applicable, unreadable, value

ALWAYS = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


def systemd_runs() -> bool:
    return os.path.isdir("/run/systemd/system")


def parse(text: str) -> List[Dict[str, str]]:
    """`systemctl show` of several units: a block each, a property a line."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line) for block in blocks]


def show(units: List[str], properties: List[str]) -> Dict[str, Dict[str, str]]:
    """Properties of units as systemd sees them, in one call for all units; "" is the manager and takes its own."""
    found: Dict[str, Dict[str, str]] = {}
    named = [unit for unit in dict.fromkeys(units) if unit]
    wanted_properties = "--property=" + ",".join(dict.fromkeys(list(ALWAYS) + properties))
    if named:
        blocks = parse(run(["systemctl", "show", "--no-pager", wanted_properties, "--", *named]).stdout)
        found.update(zip(named, blocks))
    if "" in units:
        manager = parse(run(["systemctl", "show", "--no-pager", wanted_properties]).stdout + "\n")
        found[""] = manager[0] if manager else {}
    return found


def read(resources: List[Resource]) -> Dict[str, Observation]:
    if not systemd_runs():
        return {r["id"]: unreadable("systemd does not run here") for r in resources}
    properties = sorted({name for r in resources for name in r.get("properties", {})})
    try:
        found = show([r["unit"] for r in resources], properties)
    except HostError as error:
        return {r["id"]: unreadable(str(error)) for r in resources}
    return {r["id"]: _observe(r, found[r["unit"]]) for r in resources}


def _observe(resource: Resource, shown: Dict[str, str]) -> Observation:
    if shown.get("LoadState") == "not-found" and not resource.get("ours"):
        return not_applicable("{} is not installed".format(resource["unit"]))
    return value(
        {
            "enabled": shown.get("UnitFileState", ""),
            "active": shown.get("ActiveState", ""),
            "reload": shown.get("NeedDaemonReload", "no"),
            "properties": {name: shown.get(name, "") for name in resource.get("properties", {})},
        }
    )


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have = seen.value
    found = []
    if resource.get("enabled") and have["enabled"] != "enabled":
        found.append(Difference("enabled", have["enabled"] or "no unit file", "enabled"))
    if resource.get("active") and have["active"] != "active":
        found.append(Difference("active", have["active"], "active"))
    if have["reload"] == "yes":
        found.append(Difference("loaded", "an older file", "the file on disk"))
    for name, want in sorted(resource.get("properties", {}).items()):
        if have["properties"][name] != want:
            found.append(Difference(name, have["properties"][name], want))
    return found


def wanted(resource: Resource) -> str:
    parts = [word for word in ("enabled", "active") if resource.get(word)]
    parts += ["{}={}".format(*pair) for pair in sorted(resource.get("properties", {}).items())]
    return "{} {}".format(resource["unit"] or "systemd", " ".join(parts))


def seen_as(resource: Resource, seen: Observation) -> str:
    have = seen.value
    parts = [have[word] for word in ("enabled", "active") if resource.get(word)]
    parts += ["{}={}".format(*pair) for pair in sorted(have["properties"].items())]
    return "{} {}".format(resource["unit"] or "systemd", " ".join(parts))


def capture(resources: List[Resource]) -> Dict[str, Any]:
    found = show([unit for r in resources for unit in [r["unit"], *r.get("asks_for", [])]], [])
    return {
        r["id"]: {
            "enabled": found[r["unit"]].get("UnitFileState") == "enabled",
            "active": _active(found[r["unit"]]),
            "asks_for": {target: _active(found[target]) for target in r.get("asks_for", [])},
        }
        for r in resources
    }


def _active(shown: Dict[str, str]) -> bool:
    return shown.get("ActiveState") in ("active", "activating", "reloading")


def reload() -> None:
    """Let systemd read its files again. Re-executing the manager is the only way to its own defaults."""
    if systemd_runs():
        run(["systemctl", "daemon-reload"])


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    if any(r["unit"] == "" for r in resources):
        run(["systemctl", "daemon-reexec"])
    enable = [r["unit"] for r in resources if r.get("enabled")]
    if enable:
        run(["systemctl", "enable", "--", *enable])
    start = [r["unit"] for r in resources if r.get("active")]
    if start:
        run(["systemctl", "start", "--", *start])


def withdraw(resources: List[Resource], captured: Dict[str, Any]) -> None:
    """Before the files go back, while systemd still knows the units that are to be stopped and disabled.

    Nothing is stopped that a service hangs on: a service requires its slice, so stopping that stops it too, and is
    left until its drop-in is gone; a mount is unmounted as a mount.
    """
    ours = [r for r in resources if r.get("ours") and not captured[r["id"]]["active"]]
    stop = [r["unit"] for r in ours if not r["unit"].endswith((".mount", ".slice"))]
    # A target that only we asked for is nobody's to keep.
    stop += [target for r in ours for target, active in captured[r["id"]]["asks_for"].items() if not active]
    if stop:
        run(["systemctl", "stop", "--", *stop], check=False)
    disable = [r["unit"] for r in resources if r.get("enabled") and not captured[r["id"]]["enabled"]]
    if disable:
        run(["systemctl", "disable", "--", *disable], check=False)


def let_go(units: List[str]) -> None:
    """Stop the slices, and the slices above them that systemd made for them, once nothing runs there."""
    if not systemd_runs():
        return
    slices = [unit for unit in units if unit.endswith(".slice")]
    # systemd makes a slice without a file where something still asks for it, and calls it loaded.
    gone = [unit for unit, shown in show(slices, ["FragmentPath"]).items() if not shown.get("FragmentPath")]
    above = {os.path.basename(os.path.dirname(cgroup.slice_path(unit))) for unit in gone}
    empty = [unit for unit in gone + sorted(above) if unit and not cgroup.processes(cgroup.slice_path(unit))]
    if empty:
        run(["systemctl", "stop", "--", *empty], check=False)


def restart(units: List[str]) -> None:
    run(["systemctl", "restart", "--", *units])


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    """After the files went back and were loaded."""
    let_go([r["unit"] for r in resources if r.get("ours") and not captured[r["id"]]["active"]])
    if any(r["unit"] == "" for r in resources):
        run(["systemctl", "daemon-reexec"])
    enable = [r["unit"] for r in resources if r.get("enabled") and captured[r["id"]]["enabled"]]
    if enable:
        run(["systemctl", "enable", "--", *enable])
    start = [r["unit"] for r in resources if r.get("active") and captured[r["id"]]["active"]]
    if start:
        run(["systemctl", "start", "--", *start])
