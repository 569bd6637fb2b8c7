"""systemd by its own program: what it says of units, and what it is told to do."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Dict, Iterator, List, Set

from .program import run
from .resource import HostError

ALWAYS = ("Id", "LoadState", "ActiveState", "UnitFileState", "NeedDaemonReload")


def systemd_runs() -> bool:
    return os.path.isdir("/run/systemd/system")


def parse(text: str) -> List[Dict[str, str]]:
    """`systemctl show` of several units: a block each, a property a line."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return [dict(line.partition("=")[::2] for line in block.split("\n") if "=" in line) for block in blocks]


def show(units: List[str], properties: List[str]) -> Dict[str, Dict[str, str]]:
    """Properties of units as systemd sees them, in one call for all units; "" is the manager and takes its own."""
    named = [unit for unit in dict.fromkeys(units) if unit]
    blocks = _blocks(named, properties) if named else []
    if len(blocks) != len(named):
        raise HostError("`systemctl show` was asked for {} units and tells of {}".format(len(named), len(blocks)))
    found = dict(zip(named, blocks))
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
    """Inside this block one `systemctl show`, which costs as much as any, answers every question about these units."""
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


def restart(units: List[str]) -> None:
    run(["systemctl", "restart", "--", *units])
