"""What systemd says of its units."""

from __future__ import annotations

import glob
import re
from typing import Any, List, Set

from .. import proc, systemctl
from ..children import aside
from ..kinds import unit
from ..plain_file import LARGEST, most, opened
from ..resource import HostError
from . import Request


def units(request: Request) -> Any:
    """Which of the `units` run, or will at the next boot."""
    if not systemctl.systemd_runs():
        raise HostError("systemd does not run here")
    return [name for name, shown in systemctl.show(request["units"], []).items() if unit.runs_or_will(shown)]


ENVIRONMENT = ["Environment", "EnvironmentFiles", "MainPID"]
# A value may hold what looks like another variable (a key's base64 ends with `=`), so whole ones are read over.
WORDS = re.compile(r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\\.|[^\s"'\\])+""", re.DOTALL)
NAME = re.compile(r"""\$?["']?([A-Za-z_][A-Za-z0-9_]*)=""")
# systemd.exec(5): quotes count where a value begins, and may hold line ends; a backslash joins lines.
ENTRIES = re.compile(
    r"""^[ \t]*(?:[#;](?:\\.|[^\n\\])*|([A-Za-z_][A-Za-z0-9_]*)[ \t]*="""
    r"""(?:"(?:[^"\\]|\\.)*(?:"|\Z)|'[^']*(?:'|\Z)|[ \t])*(?:\\.|[^\n\\])*)""",
    re.MULTILINE | re.DOTALL,
)
EVERY_SERVICE = "systemd itself"


@aside
def unit_environment(_request: Request) -> Any:
    """The names of the variables that services get, by unit: from it, from its EnvironmentFile=, from systemd itself,
    and those that the running one got when it was started. Their values stay here."""
    if not systemctl.systemd_runs():
        raise HostError("systemd does not run here")
    found = {EVERY_SERVICE: names_shown(systemctl.show([""], ["Environment"])[""].get("Environment", ""))}
    for block in systemctl.services(ENVIRONMENT):
        names = set(names_shown(block.get("Environment", "")))
        for path in re.findall(r"(\S+) \(ignore_errors=", block.get("EnvironmentFiles", "")):
            names |= {"{} ({})".format(name, path) for name in _variables(path)}
        got = _got(int(block.get("MainPID") or 0)) - names - set(found[EVERY_SERVICE])
        names |= {"{} (process {})".format(name, block["MainPID"]) for name in got}
        if names:
            found[block["Id"]] = sorted(names)
    return found


def tasks(request: Request) -> Any:
    """Services with more processes and threads than `percent` of what they may have: {"unit", "tasks", "most"}."""
    if not systemctl.systemd_runs():
        raise HostError("systemd does not run here")
    found = []
    for block in systemctl.services(OF_TASKS):
        now, most = (int(block.get(name, "")) if block.get(name, "").isdecimal() else UNSET for name in OF_TASKS)
        if now < UNSET and now * 100 > most * request["percent"]:
            found.append({"unit": block["Id"], "tasks": now, "most": most})
    return found


OF_TASKS = ["TasksCurrent", "TasksMax"]
UNSET = 2**64 - 1  # what systemd before 250 says of a service that does not run


def names_shown(text: str) -> List[str]:
    """Of variables as systemctl shows them: quoted as for a shell."""
    return [match[1] for match in map(NAME.match, WORDS.findall(text)) if match]


def names_in_file(text: str) -> List[str]:
    """Of the variables of an EnvironmentFile=."""
    return [match[1] for match in ENTRIES.finditer(text) if match[1]]


def _got(pid: int) -> Set[str]:
    """The names of the variables that a process was started with."""
    proc.looking_at(pid)
    entries = proc.environment(pid) if pid else []
    return {entry.partition(b"=")[0].decode("utf-8", "replace") for entry in entries if b"=" in entry}


def _variables(pattern: str) -> List[str]:
    found: List[str] = []
    for path in sorted(glob.glob(pattern)):
        with opened(path, links=True) as file:
            found += names_in_file(most(file, LARGEST).decode("utf-8", "replace"))
    return found
