"""A systemd unit: what systemd itself says of it, after all its files and drop-ins.

`unit` "" is the manager, for the defaults of system.conf. A later drop-in of somebody else's that undoes ours
shows here, since systemd names the value that won. What it will make of its files when it reads them next, at a boot
say, is the last assignment in them: `assigned`. A unit of our own (`ours`) has no drop-ins, and nothing stands before
it. `hold` is a file that keeps it from starting for as long as a window is open. `mark` is what its process must have
been started with: where that is an older one it is restarted, or reloaded where its reload brings a new process.
`beside` are other tools' units that may undo what it does.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any, Dict, List, Optional, Set

from .. import cgroup, facts, firewalld, proc, store, surroundings, systemctl, unit_files
from ..children import aside
from ..program import run
from ..resource import (
    VALUE,
    Difference,
    HostError,
    Observation,
    Resource,
    missing,
    not_running,
    value,
)

NEEDS_SYSTEMD = True


def properties_of(resources: List[Resource]) -> List[str]:
    """What `read` asks for."""
    marked = {"MainPID"} if any("mark" in r for r in resources) else set()
    named = {name for r in resources for name in r.get("properties", {})}
    return sorted(named | marked | {"FragmentPath", "DropInPaths", "ConflictedBy"})


def resource(control: str, unit: str, properties: Dict[str, str], name: str = "", **more: Any) -> Resource:
    """A unit of ours, or what we set of somebody else's (then `name` tells it from others of the same unit).

    `properties` are what systemd says of it. `more`: `ours`, `enabled`, `active`; `assigned`, what its files make of
    settings; `file`, our drop-in; `asks_for`, units that it pulls in; `hold`, `mark`, `beside`: see above.
    """
    identity = "unit:" + (unit or "manager") + (":" + name if name else "")
    return dict(more, id=identity, kind="unit", control=control, unit=unit, properties=properties)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    if not systemctl.systemd_runs():
        raise HostError("systemd does not run here")
    found = systemctl.show(names(resources), properties_of(resources))
    return {r["id"]: _looked_at(r, found) for r in resources}


def names(resources: List[Resource]) -> List[str]:
    """The units that `read` asks about."""
    return [unit for r in resources for unit in [r["unit"], *r.get("beside", [])]]


def _looked_at(resource: Resource, found: Dict[str, Dict[str, str]]) -> Observation:
    seen = _observe(resource, found[resource["unit"]])
    if seen.state == VALUE and any(runs_or_will(found[unit]) for unit in resource.get("beside", [])):
        seen.value["flushed"] = firewalld.flushes()
    return seen


def runs_or_will(shown: Dict[str, str]) -> bool:
    return _active(shown) or shown.get("UnitFileState") == "enabled"


def _observe(resource: Resource, shown: Dict[str, str]) -> Observation:
    if shown.get("LoadState") in ("not-found", "masked") and not resource.get("ours"):
        why = "is masked" if shown["LoadState"] == "masked" else "is not installed"
        return missing("{} {}".format(resource["unit"], why))
    paths = unit_files.files(resource["unit"], shown)
    return value(
        {
            "enabled": shown.get("UnitFileState", "") if _linked(resource["unit"], paths) else "not linked",
            "active": shown.get("ActiveState", ""),
            "reload": shown.get("NeedDaemonReload", "no"),
            "properties": {name: shown.get(name, "") for name in resource.get("properties", {})},
            "masked": shown.get("LoadState") == "masked",
            "drop_ins": _changed_by(resource["unit"], paths) if resource.get("ours") else [],
            "conflicts": _enemies(shown) if resource.get("ours") else [],
            "assigned": {name: unit_files.assigned(name, paths) for name in resource.get("assigned", {})},
            "held": bool(resource.get("hold")) and _is_there(resource["hold"]) and not store.window_is_open(),
            "forgotten": surroundings.forgotten() if resource.get("hold") else "",
            "waits": bool(resource.get("hold")) and store.window_is_open(),
            "mark": _mark(shown.get("MainPID", "")) if "mark" in resource else None,
        }
    )


ENDINGS = ("shutdown.target", "umount.target")


def _enemies(shown: Dict[str, str]) -> List[str]:
    """The units that stop this one when they start, but for the end of the machine."""
    return sorted(set(shown.get("ConflictedBy", "").split()) - set(ENDINGS))


MARK = b"HOSTGUARD_MARK="


@aside
def _mark(pid: str) -> str:
    """What a unit's process was started with; "" where none runs."""
    entries = proc.environment(int(pid or 0))
    return next((entry[len(MARK) :].decode("ascii", "replace") for entry in entries if entry.startswith(MARK)), "")


def read_image(resources: List[Resource]) -> Dict[str, Observation]:
    """Of an image: what its files make of a unit. Where that is as wanted, what systemd makes of settings is still its
    own word: only whether a unit of ours will be started, and from our file alone, is all in them."""
    return {r["id"]: _of_image(r) for r in resources}


def _of_image(resource: Resource) -> Observation:
    paths = unit_files.files(resource["unit"], {})
    if not paths[0] and resource["unit"] and not resource.get("ours"):
        return missing("{} is not installed".format(resource["unit"]))
    seen = value(
        {
            "enabled": "enabled" if paths[0] and _linked(resource["unit"], paths) else "not linked",
            "active": "active",
            "reload": "no",
            "properties": resource.get("properties", {}),
            "masked": os.path.realpath(paths[0]) == "/dev/null",
            "drop_ins": _changed_by(resource["unit"], paths) if resource.get("ours") else [],
            "conflicts": [],
            "assigned": {name: unit_files.assigned(name, paths) for name in resource.get("assigned", {})},
            "held": bool(resource.get("hold")) and _is_there(resource["hold"]),
            "forgotten": "",
            "waits": False,
            "mark": resource.get("mark"),
        }
    )
    told = resource.get("ours") and not resource.get("properties")
    return seen if told or differ(resource, seen) else not_running()


def _changed_by(unit: str, paths: List[str]) -> List[str]:
    """What stands before our unit, its drop-ins, and those of all of its kind that decide over it."""
    first, *drop_ins = paths
    own = [path for path in drop_ins if os.path.dirname(path).endswith("/" + unit + ".d")]
    before = [first] if first not in ("", unit_files.OURS + unit) else []
    return before + own + [path for path in unit_files.deciding(drop_ins) if path not in own]


def _linked(unit: str, paths: List[str]) -> bool:
    """Whether what a boot starts leads to the unit's file: systemd remembers the links that it saw last."""
    targets = [
        target for line in unit_files.lines(paths[0]) if line.startswith("WantedBy=") for target in line[9:].split()
    ]
    return all(unit_files.is_wanted(unit, target) for target in targets)


def _is_there(path: str) -> bool:
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    return True


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have = seen.value
    found = []
    if resource.get("enabled") and have["enabled"] != "enabled":
        found.append(Difference("enabled", have["enabled"] or "no unit file", "enabled"))
    if resource.get("active") and have["active"] != "active" and not have.get("waits"):
        found.append(Difference("active", have["active"], "active"))
    elif resource.get("mark") != have.get("mark"):
        found.append(Difference("running", "with an older configuration", "with the one on disk"))
    if have["masked"]:
        blocked = "{0} is masked: `systemctl unmask {0}`".format(resource["unit"])
        found.append(Difference("state", "masked", "loaded", blocked))
    if have["drop_ins"]:
        blocked = "{} changes what hostguard wrote: remove it".format(have["drop_ins"][0])
        found.append(Difference("drop-ins", ", ".join(have["drop_ins"]), "", blocked))
    for other in have["conflicts"]:
        blocked = "{} conflicts with {}, and stops it: take Conflicts= out there".format(other, resource["unit"])
        found.append(Difference("conflicts", other, "", blocked))
    for name, want in sorted(resource.get("assigned", {}).items()):
        setting, path = have["assigned"][name]
        if setting != want:
            later = os.path.basename(path) > os.path.basename(resource["file"])
            blocked = "{} sets {}={} after {}: remove it".format(path, name, setting, resource["file"]) if later else ""
            found.append(Difference(name, setting, want, blocked))
    if have["held"]:
        blocked = "{} keeps it from starting at boot, and no apply is under way: remove it".format(resource["hold"])
        found.append(Difference("start at boot", "held", "free", blocked))
    if have.get("forgotten"):
        blocked = surroundings.FORGETS.format(have["forgotten"])
        found.append(Difference("after a boot", "unconfirmed rules stay", "they go back", blocked))
    if have.get("flushed"):
        blocked = "firewalld flushes the rules of others whenever it starts or reloads, and OUTPUT's policy would then "
        blocked += "cut this host off: " + have["flushed"]
        found.append(Difference("rules after a boot", "flushed by firewalld", "there", blocked))
    # Of a unit of others' only what we set there counts, and that is read in its files.
    if have["reload"] == "yes" and resource.get("ours"):
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


def setters(resource: Resource, seen: Observation, _fields: Set[str]) -> Dict[str, Optional[str]]:
    if seen.state != VALUE:
        return {}
    names = {name: re.sub("Soft$", "", name) for name in resource.get("properties", {})}
    names.update({name: name for name in resource.get("assigned", {})})
    found: Dict[str, Optional[str]] = dict(unit_files.settings_from(resource["unit"], names))
    found["drop-ins"] = next(iter(seen.value["drop_ins"]), None)
    return found


def place(resource: Resource) -> str:
    return str(resource["unit"] or "systemd")


def capture(resources: List[Resource]) -> Dict[str, Any]:
    named = [unit for r in resources for unit in [r["unit"], *r.get("asks_for", [])]]
    found = systemctl.show(named, ["MainPID", "EnvironmentFiles"])
    return {
        r["id"]: {
            "enabled": found[r["unit"]].get("UnitFileState") == "enabled",
            "links": _links(r["unit"]),
            "active": _active(found[r["unit"]]),
            "reload": found[r["unit"]].get("NeedDaemonReload", "no"),
            "mark": _mark(found[r["unit"]].get("MainPID", "")) if "mark" in r else None,
            "process": _identity(found[r["unit"]]) if "mark" in r else None,
            "on_disk": _on_disk(found[r["unit"]]) if "mark" in r else None,
            "asks_for": {target: _active(found[target]) for target in r.get("asks_for", [])},
        }
        for r in resources
    }


def _links(unit: str) -> List[str]:
    """What has a boot start a unit: systemd tells of none where the unit's file is gone."""
    return sorted(glob.glob("{}*.wants/{}".format(unit_files.OURS, glob.escape(unit)))) if unit else []


def _identity(shown: Dict[str, str]) -> str:
    """Which process it is: its number is used again, and so is the moment of its start, in another boot."""
    pid = int(shown.get("MainPID", "") or 0)
    return "{} {} {}".format(pid, _started(pid), facts.boot_id()) if pid else ""


@aside
def _started(pid: int) -> str:
    try:
        return str(proc.started(pid))
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _on_disk(shown: Dict[str, str]) -> Optional[str]:
    """The mark that its process would be started with now; None where its unit names no file of it."""
    path = shown.get("EnvironmentFiles", "").partition(" (ignore_errors")[0]
    if not path:
        return None
    try:
        with open(path, encoding="ascii", errors="replace", newline="\n") as file:
            return file.read().partition(MARK.decode("ascii"))[2].strip()
    except FileNotFoundError:
        return ""


def as_before(resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    """A unit that ran must run again; one that did not may still run, as a slice with processes does. Its process is
    the one of before, or one that was started with the files that are on the disk now."""
    enabled = not resource.get("enabled") or (
        before["enabled"] == now["enabled"] and before.get("links", now["links"]) == now["links"]
    )
    must_run = _is_started(resource) and before["active"]
    same = before.get("process") == now["process"] or now["on_disk"] in (None, now["mark"])
    runs = now["active"] and same
    return bool(enabled and (runs or not must_run) and now["reload"] != "yes")


def _is_started(resource: Resource) -> bool:
    """What a file holds back is started when that is gone: see window.close."""
    return bool(resource.get("active")) and not resource.get("hold")


def _active(shown: Dict[str, str]) -> bool:
    return shown.get("ActiveState") in ("active", "activating", "reloading")


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    if any(seen[r["id"]].state == VALUE and seen[r["id"]].value["reload"] == "yes" for r in resources):
        systemctl.reload()
    if any(r["unit"] == "" for r in resources):
        systemctl.reexecute()
    enable = [r["unit"] for r in resources if r.get("enabled")]
    if enable:
        run(["systemctl", "enable", "--", *enable])
    _start([r for r in resources if _is_started(r)])


def _start(resources: List[Resource]) -> None:
    for verb, members in (
        ("start", [r["unit"] for r in resources if "mark" not in r]),
        # One that can have a new process take over from the old one (ExecReload=) does.
        ("reload-or-restart", [r["unit"] for r in resources if "mark" in r]),
    ):
        if members:
            run(["systemctl", verb, "--", *members])


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
    if not systemctl.systemd_runs():
        return
    slices = [unit for unit in units if unit.endswith(".slice")]
    # systemd makes a slice without a file where something still asks for it, and calls it loaded.
    gone = [unit for unit, shown in systemctl.show(slices, ["FragmentPath"]).items() if not shown.get("FragmentPath")]
    above = {os.path.basename(os.path.dirname(cgroup.slice_path(unit))) for unit in gone}
    empty = [unit for unit in gone + sorted(above) if unit and not cgroup.processes(cgroup.slice_path(unit))]
    if empty:
        run(["systemctl", "stop", "--", *empty], check=False)


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    """After the files went back and were loaded."""
    let_go([r["unit"] for r in resources if r.get("ours") and not captured[r["id"]]["active"]])
    if any(r["unit"] == "" for r in resources):
        systemctl.reexecute()
    enable = [r["unit"] for r in resources if r.get("enabled") and captured[r["id"]]["enabled"]]
    if enable:
        run(["systemctl", "enable", "--", *enable])
    started = [r for r in resources if _is_started(r) and captured[r["id"]]["active"]]
    now = systemctl.show([r["unit"] for r in started], ["MainPID"])
    _start([r for r in started if not _goes_on(r, captured[r["id"]], now[r["unit"]])])


def _goes_on(resource: Resource, before: Dict[str, Any], shown: Dict[str, str]) -> bool:
    """Whether the process of before still runs: of an apply that failed earlier, nobody's connections need suffer.

    It must be that one. What a boot or a crash has started since has its mark, and may have prepared, or read, other
    files (seen: the folders of one generation, and the templates of another).
    """
    same = before.get("process", "") in ("", _identity(shown))  # "": of an older hostguard's record
    return "mark" in resource and bool(before.get("mark")) and before["mark"] == _mark(shown["MainPID"]) and same
