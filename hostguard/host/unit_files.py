"""The files of systemd's units, in the order in which systemd reads them: what a boot will make of them."""

from __future__ import annotations

import glob
import os
import re
from typing import Dict, List, NamedTuple, Tuple

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
# A drop-in for all services of a host may well set these: what the unit is there for is done all the same.
HARMLESS = (
    "CPU", "Description", "Documentation", "Environment", "IO", "Limit", "Log", "ManagedOOM", "MemoryAccounting",
    "Nice", "OOM", "OnFailure", "OnSuccess", "Restart", "Slice", "StandardError", "StandardOutput", "StartLimit",
    "StartupCPU", "StartupIO", "Syslog", "TasksAccounting", "Timeout", "X-",
)  # fmt: skip
# But for these, of which a slice is made.
DECIDING = ("CPUQuota",)
# A sandbox decides, unless it is taken away, as the drop-ins of containers do it.
SANDBOX = ("ImportCredential", "LoadCredential", "NoNewPrivileges", "Private", "ProcSubset", "Protect")
OFF = ("", "0", "all", "default", "false", "n", "no", "off")
BLANKS = " \t\n\r"
"""What systemd takes for white space; Python's own has more."""


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
    with open(path, encoding="utf-8", errors="replace", newline=None) as file:
        return [line.strip(BLANKS) for line in file]


class Setting(NamedTuple):
    section: str
    key: str
    value: str


def settings(path: str) -> List[Setting]:
    """What a file sets, as systemd reads it (systemd.syntax(7)): a `\\` at its end joins a line with the next one, also
    over comments."""
    found, section, before = [], "", ""
    for line in [*(line for line in lines(path) if line[:1] not in ("#", ";")), ""]:
        line = before + line
        before = line[:-1] + " " if line.endswith("\\") else ""
        if before:
            continue
        if line.startswith("["):
            section = line[1:].partition("]")[0]
        elif "=" in line:
            key, _, setting = line.partition("=")
            found.append(Setting(section, key.strip(BLANKS), setting.strip(BLANKS)))
    return found


def deciding(paths: List[str]) -> List[str]:
    """Those of the files, the distribution's own left out, that may decide whether a unit does what it is there for."""
    others = (path for path in paths if path and not path.startswith(VENDOR))
    return [path for path in others if any(map(_decides, settings(path)))]


def _decides(setting: Setting) -> bool:
    if setting.section.startswith("X-") or setting.section == "Install":
        return False
    if setting.key.startswith(SANDBOX):
        return setting.value.lower() not in OFF
    return setting.key in DECIDING or not setting.key.startswith(HARMLESS)


def is_wanted(unit: str, target: str) -> bool:
    """Whether a boot that reaches the target starts the unit: the first link of its name counts, and one that leads to
    nothing, or to an empty file, counts for none."""
    for folder in FOLDERS:
        link = os.path.join(folder, target + ".wants", unit)
        if os.path.lexists(link):
            real = os.path.realpath(link)
            return real != "/dev/null" and not (os.path.isfile(real) and os.path.getsize(real) == 0)
    return False


SECTION = re.compile(r"[./](service|slice|mount|socket|swap|scope)(\.d/[^/]+)?$")


def assigned(name: str, paths: List[str]) -> List[str]:
    """The last assignment of a setting in a unit's files, and its file."""
    last = ["", ""]
    for path in paths:
        kind = SECTION.search(path)
        section = kind[1].capitalize() if kind else "Manager"
        for setting in settings(path):
            if setting.key == name and setting.section == section:
                last = [setting.value, path]
    return last


def settings_from(name: str, settings: Dict[str, str]) -> Dict[str, str]:
    """The file that sets each setting of a unit ("": the manager) last; by the name that was asked with."""
    paths = files(name, show([name], ["FragmentPath", "DropInPaths"])[name])
    return {asked: assigned(setting, paths)[1] for asked, setting in settings.items()}
