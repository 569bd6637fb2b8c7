"""The files of systemd's units, in the order in which systemd reads them: what a boot will make of them."""

from __future__ import annotations

import glob
import os
from typing import Dict, List, Tuple

from .systemctl import show

OURS, VENDOR = "/etc/systemd/system/", ("/usr/lib/", "/lib/")
# systemd.unit(5): what is found in an earlier folder hides its namesake in a later one.
FOLDERS: Tuple[str, ...] = (
    "/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient",
    "/run/systemd/generator.early", "/etc/systemd/system", "/etc/systemd/system.attached", "/run/systemd/system",
    "/run/systemd/system.attached", "/run/systemd/generator", "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late",
)  # fmt: skip
MANAGER_FOLDERS: Tuple[str, ...] = (
    "/etc/systemd",
    "/run/systemd",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd",
    "/lib/systemd",
)
# What decides whether a unit does what its file says; a drop-in for all services may well set the rest.
DECIDING = ("Exec", "Condition", "Assert", "What=", "Options=", "MemoryMax=", "MemoryHigh=", "CPUQuota=", "TasksMax=")


def files(unit: str, shown: Dict[str, str]) -> List[str]:
    """The files that systemd would read for a unit now: its own, then the drop-ins, in their order. It says itself
    which ones it has read (`shown`): those of a unit's other names are among them, and what is gone since is not."""
    if not unit:
        names, every = [["system.conf.d"]], MANAGER_FOLDERS
    else:
        stem, _, kind = unit.rpartition(".")
        words = stem.split("-")
        families = ["-".join(words[:count]) + "-." + kind for count in range(len(words) - 1, 0, -1)]
        template = [stem.partition("@")[0] + "@." + kind] if "@" in stem else []
        names, every = [[name + ".d" for name in (unit, *template, *families)], [kind + ".d"]], FOLDERS
    drop_ins: Dict[str, str] = {}
    for group in names:
        for folder in every:
            for name in group:
                for path in glob.glob(glob.escape(os.path.join(folder, name)) + "/*.conf"):
                    drop_ins.setdefault(os.path.basename(path), path)
    for path in shown.get("DropInPaths", "").split():
        if os.path.exists(path):
            drop_ins.setdefault(os.path.basename(path), path)
    main = (os.path.join(folder, unit or "system.conf") for folder in every)
    first = next((path for path in main if os.path.lexists(path)), shown.get("FragmentPath", ""))
    return [first, *(drop_ins[name] for name in sorted(drop_ins))]


def lines(path: str) -> List[str]:
    if not os.path.exists(path):
        return []  # gone since, or there never was one
    with open(path, encoding="utf-8", errors="replace") as file:
        return [line.strip() for line in file]


def deciding(paths: List[str]) -> List[str]:
    """Those of the files, the distribution's own left out, that decide whether a unit does what it is there for."""
    others = (path for path in paths if path and not path.startswith(VENDOR))
    return [path for path in others if any(line.startswith(DECIDING) for line in lines(path))]


def assigned(name: str, paths: List[str]) -> List[str]:
    """The last assignment of a setting in a unit's files, and its file."""
    last = ["", ""]
    for path in paths:
        for line in lines(path):
            key, equals, setting = line.partition("=")
            if equals and key.strip() == name:
                last = [setting.strip(), path]
    return last


def settings_from(name: str, settings: Dict[str, str]) -> Dict[str, str]:
    """The file that sets each setting of a unit ("": the manager) last; by the name that was asked with."""
    paths = files(name, show([name], ["FragmentPath", "DropInPaths"])[name])
    return {asked: assigned(setting, paths)[1] for asked, setting in settings.items()}
