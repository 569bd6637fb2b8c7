"""A systemd unit: what systemd itself says of it, after all its files and drop-ins.

`unit` "" is the manager, for the defaults of system.conf. A later drop-in of somebody else's that undoes ours
shows here, since systemd names the value that won. Where it can't (`Slice=` of a service that runs stays what it was
started with) the last assignment of the unit's files is read: `assigned`. A unit of our own (`ours`) has no drop-ins.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time
from typing import Any, Dict, Iterator, List, Set

from .. import cgroup
from ..program import run
from ..resource import (
    VALUE,
    Difference,
    HostError,
    Observation,
    Resource,
    not_applicable,
    not_running,
    unreadable,
    value,
)

ALWAYS = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


def systemd_runs() -> bool:
    return os.path.isdir("/run/systemd/system")


def parse(text: str) -> List[Dict[str, str]]:
    """`systemctl show` of several units: a block each, a property a line."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [dict(line.partition("=")[::2] for line in block.splitlines() if "=" in line) for block in blocks]


def show(units: List[str], properties: List[str]) -> Dict[str, Dict[str, str]]:
    """Properties of units as systemd sees them, in one call for all units; "" is the manager and takes its own."""
    named = [unit for unit in dict.fromkeys(units) if unit]
    found = dict(zip(named, _blocks(named, properties))) if named else {}
    if "" in units:
        manager = parse(run(["systemctl", "show", "--no-pager", _option(properties)]).stdout + "\n")
        found[""] = manager[0] if manager else {}
    return found


def services(properties: List[str]) -> List[Dict[str, str]]:
    """Properties of the services that are loaded: those that run, and those that something refers to."""
    return _blocks([SERVICES], properties)


SERVICES = "*.service"
_asked: Dict[str, List[Dict[str, str]]] = {}
_of: Set[str] = set()


@contextlib.contextmanager
def asked_once(units: List[str], properties: List[str]) -> Iterator[None]:
    """Who asks for these within is answered by one call for all: it costs as much as each of theirs would."""
    named = [unit for unit in dict.fromkeys(units) if unit]
    if named and systemd_runs():
        with contextlib.suppress(HostError):  # who asks by himself will meet it, and know what to make of it
            blocks = _blocks(named, properties)
            _of.update(ALWAYS, properties)
            # systemctl tells those that are named first, in their order, and then what a pattern stands for.
            single = [unit for unit in named if unit != SERVICES]
            _asked.update({unit: [block] for unit, block in zip(single, blocks)})
            _asked[SERVICES] = blocks[len(single) :]
    try:
        yield
    finally:
        _asked.clear()
        _of.clear()


def _blocks(named: List[str], properties: List[str]) -> List[Dict[str, str]]:
    if all(unit in _asked for unit in named) and _of.issuperset(properties):
        return [block for unit in named for block in _asked[unit]]
    return parse(run(["systemctl", "show", "--no-pager", _option(properties), "--", *named]).stdout)


def _option(properties: List[str]) -> str:
    return "--property=" + ",".join(dict.fromkeys([*ALWAYS, *properties]))


def properties_of(resources: List[Resource]) -> List[str]:
    """What `read` asks for."""
    return sorted({name for r in resources for name in r.get("properties", {})} | {"FragmentPath", "DropInPaths"})


def read(resources: List[Resource]) -> Dict[str, Observation]:
    if not systemd_runs():
        return {r["id"]: unreadable("systemd does not run here") for r in resources}
    try:
        found = show([r["unit"] for r in resources], properties_of(resources))
    except HostError as error:
        return {r["id"]: unreadable(str(error)) for r in resources}
    return {r["id"]: _observe(r, found[r["unit"]]) for r in resources}


def _observe(resource: Resource, shown: Dict[str, str]) -> Observation:
    if shown.get("LoadState") in ("not-found", "masked") and not resource.get("ours"):
        why = "is masked" if shown["LoadState"] == "masked" else "is not installed"
        return not_applicable("{} {}".format(resource["unit"], why))
    return value(
        {
            "enabled": shown.get("UnitFileState", ""),
            "active": shown.get("ActiveState", ""),
            "reload": shown.get("NeedDaemonReload", "no"),
            "properties": {name: shown.get(name, "") for name in resource.get("properties", {})},
            "masked": shown.get("LoadState") == "masked",
            "drop_ins": _own_drop_ins(resource["unit"], shown) if resource.get("ours") else [],
            "assigned": {name: assigned(name, shown) for name in resource.get("assigned", {})},
        }
    )


def read_image(resources: List[Resource]) -> Dict[str, Observation]:
    """Of an image: whether a unit of ours will be started, and from our file alone. What systemd makes of settings is
    its own word."""
    return {
        r["id"]: not_running() if r.get("properties") or not r.get("ours") else _in_files(r["unit"]) for r in resources
    }


FOLDERS = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")


def _in_files(unit: str) -> Observation:
    fragment = next((path for path in (os.path.join(f, unit) for f in FOLDERS) if os.path.lexists(path)), "")
    masked = bool(fragment) and os.path.realpath(fragment) == "/dev/null"
    wanted_by = [
        path
        for f in FOLDERS
        for way in ("*.wants", "*.requires")
        for path in glob.glob(os.path.join(f, way, glob.escape(unit)))
    ]
    enabled = ("enabled" if wanted_by else "disabled") if fragment else ""
    drop_ins = sorted(path for f in FOLDERS for path in glob.glob(os.path.join(f, glob.escape(unit) + ".d", "*.conf")))
    return value({"enabled": enabled, "active": "", "reload": "no", "properties": {}, "masked": masked,
                  "drop_ins": drop_ins, "assigned": {}})  # fmt: skip


def _own_drop_ins(unit: str, shown: Dict[str, str]) -> List[str]:
    """Drop-ins of this very unit: those of all services (service.d) and of a family (a-.slice.d) are the system's."""
    return [path for path in shown.get("DropInPaths", "").split() if os.path.dirname(path).endswith("/" + unit + ".d")]


def assigned(name: str, shown: Dict[str, str]) -> List[str]:
    """The last assignment of a setting in a unit's files, in systemd's order, and its file."""
    last = ["", ""]
    for path in [shown.get("FragmentPath", ""), *shown.get("DropInPaths", "").split()]:
        if not path:
            continue
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, equals, setting = line.strip().partition("=")
                if equals and key.strip() == name:
                    last = [setting.strip(), path]
    return last


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have = seen.value
    found = []
    if resource.get("enabled") and have["enabled"] != "enabled":
        found.append(Difference("enabled", have["enabled"] or "no unit file", "enabled"))
    if resource.get("active") and have["active"] != "active":
        found.append(Difference("active", have["active"], "active"))
    if have["masked"]:
        blocked = "{0} is masked: `systemctl unmask {0}`".format(resource["unit"])
        found.append(Difference("state", "masked", "loaded", blocked))
    if have["drop_ins"]:
        blocked = "{} changes what hostguard wrote: remove it".format(have["drop_ins"][0])
        found.append(Difference("drop-ins", ", ".join(have["drop_ins"]), "", blocked))
    for name, want in sorted(resource.get("assigned", {}).items()):
        setting, path = have["assigned"][name]
        if setting != want:
            later = os.path.basename(path) > os.path.basename(resource["file"])
            blocked = "{} sets {}={} after {}: remove it".format(path, name, setting, resource["file"]) if later else ""
            found.append(Difference(name, setting, want, blocked))
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
    """Let systemd read its files again."""
    if systemd_runs():
        run(["systemctl", "daemon-reload"])


def reexecute() -> None:
    """The only way to the manager's own defaults. Until it listens again, every other call would fail."""
    run(["systemctl", "daemon-reexec"])
    for _ in range(REEXEC_TRIES):
        if run(["systemctl", "show", "--property=Version"], check=False).returncode == 0:
            return
        time.sleep(REEXEC_PAUSE)
    raise HostError("systemd does not answer after `systemctl daemon-reexec`")


REEXEC_TRIES, REEXEC_PAUSE = 100, 0.1  # ten seconds


def start_again(unit: str) -> List[str]:
    """Start a unit anew where it is enabled; returns what went wrong."""
    if not systemd_runs() or show([unit], [])[unit].get("UnitFileState") != "enabled":
        return []
    done = run(["systemctl", "restart", "--", unit], check=False)
    return [done.stderr.strip()] if done.returncode else []


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    if any(seen[r["id"]].state == VALUE and seen[r["id"]].value["reload"] == "yes" for r in resources):
        reload()
    if any(r["unit"] == "" for r in resources):
        reexecute()
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
        reexecute()
    enable = [r["unit"] for r in resources if r.get("enabled") and captured[r["id"]]["enabled"]]
    if enable:
        run(["systemctl", "enable", "--", *enable])
    start = [r["unit"] for r in resources if r.get("active") and captured[r["id"]]["active"]]
    if start:
        run(["systemctl", "start", "--", *start])
