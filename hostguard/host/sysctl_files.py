"""What a boot sets: the files of sysctl.d(5), as systemd-sysctl and ufw read them.

Files of five folders are ordered by name alone, a name in an earlier folder hides the same name in a later one, and the
last assignment of a key wins.
"""

from __future__ import annotations

import fnmatch
import os
import re
from typing import Dict, List, NamedTuple, Optional

from . import parameters, ufw, unit_files

FOLDERS = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d", "/lib/sysctl.d")


class Assignment(NamedTuple):
    """One line of sysctl.d: `key` with dots, the file and line that hold it. `value` None keeps globs from the key.
    `after` is the program that sets it once systemd-sysctl has, "" for systemd-sysctl."""

    key: str
    value: Optional[str]
    path: str
    line: int
    after: str = ""

    @property
    def at(self) -> str:
        return "{}:{}".format(self.path, self.line)


LINE_END = re.compile("\r\n|\n\r|[\n\r\0]")
"""As systemd reads it (basic/fileio.c); Python's own splitlines() has others too."""


def parse(text: str, path: str, after: str = "") -> List[Assignment]:
    """The lines of one file. `-` before a key means: ignore errors; without a value: let no glob set it."""
    found = []
    for number, line in enumerate(LINE_END.split(text), 1):
        line = line.strip(unit_files.BLANKS)
        if not line or line[0] in "#;":
            continue
        key, equals, setting = line.partition("=")
        key = key.strip()
        if not equals and not key.startswith("-"):
            continue
        key = normal_key(key[1:].strip() if key.startswith("-") else key)
        found.append(Assignment(key, parameters.normal(setting) if equals else None, path, number, after))
    return found


def normal_key(key: str) -> str:
    """sysctl.d(5): if the first separator is a slash, slashes separate and a dot belongs to a name."""
    dot, slash = key.find("."), key.find("/")
    if slash != -1 and (dot == -1 or slash < dot):
        return key.translate(parameters.OTHER)
    return key


def matches(pattern: str, key: str) -> bool:
    """As glob(7) takes a path: what a star stands for ends with its folder."""
    patterns, parts = parameters.path_of(pattern).split("/"), parameters.path_of(key).split("/")
    return len(patterns) == len(parts) and all(map(fnmatch.fnmatchcase, parts, patterns))


def winner(assignments: List[Assignment], key: str) -> Optional[Assignment]:
    """The assignment that a boot ends with. Of systemd-sysctl's an exact key beats a glob, whatever their order, and
    also where it has no value; what another program sets afterwards beats them all."""
    after = [a for a in assignments if a.after and a.key == key]
    if after:
        return after[-1]
    exact = [a for a in assignments if a.key == key]
    if exact:
        return exact[-1] if exact[-1].value is not None else None
    globs = [a for a in assignments if any(c in a.key for c in "*?[") and matches(a.key, key)]
    return globs[-1] if globs and globs[-1].value is not None else None


def configuration() -> List[Assignment]:
    """Every assignment on this host in the order in which systemd-sysctl makes them."""
    chosen: Dict[str, str] = {}
    for folder in FOLDERS:
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.endswith(".conf"):
                chosen.setdefault(name, os.path.join(folder, name))
    found: List[Assignment] = []
    for name in sorted(chosen):
        try:
            with open(chosen[name], encoding="utf-8", errors="replace", newline="") as file:
                found += parse(file.read(), chosen[name])
        except FileNotFoundError:
            continue  # a dangling link; one to /dev/null reads as empty and masks, as it should
    return found + _ufw()


def _ufw() -> List[Assignment]:
    """What ufw sets when it starts, at every boot, and at `ufw reload`: IPT_SYSCTL of /etc/default/ufw (ufw(8))."""
    if not ufw.enabled(_text(ufw.CONF)):
        return []
    path = ufw.assigned(_text(ufw.DEFAULTS), "IPT_SYSCTL") or ufw.SYSCTL
    return parse(_text(path) or "", path, after="ufw")


def _text(path: str) -> Optional[str]:
    """None where it can't be read: ufw sets nothing then."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="") as file:
            return file.read()
    except OSError:
        return None


BOOT_UNITS = {
    "systemd-sysctl.service": "/etc/sysctl.d",
    "systemd-modules-load.service": "/etc/modules-load.d",
}
"""The services that read, at boot, what sets parameters and what loads the modules that bring them (before that)."""
SYSCTL_UNIT, MODULES_UNIT = BOOT_UNITS


def boot_trouble(boot_unit: str = SYSCTL_UNIT) -> str:
    """Why nothing in the folder of one of BOOT_UNITS is read at boot at all; "" where it is."""
    folder, paths = BOOT_UNITS[boot_unit], unit_files.files(boot_unit, {})
    if os.path.realpath(paths[0]) == "/dev/null":
        return "{0} is masked, and no boot reads {1}: `systemctl unmask {0}`".format(boot_unit, folder)
    changing = unit_files.deciding(paths)
    if changing:
        return "{} changes {}, and a boot may not read {}: remove it".format(changing[0], boot_unit, folder)
    if paths[0] and not unit_files.is_wanted(boot_unit, "sysinit.target"):
        return "no boot starts {0}: put back its link in sysinit.target.wants".format(boot_unit)
    return ""
