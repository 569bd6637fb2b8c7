"""The kinds of resource: a module each, which says all of its kind.

A kind that is in the folder and in no table, or leaves something out that every kind says, is an error at import.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Protocol, Tuple

from ..resource import Difference, Observation, Resource
from . import file, frames, ipset, lookup, mount, pam_limit, process, ruleset, slice, sysctl, unit, xds


class Kind(Protocol):
    """What every kind says. What looks and what changes takes all resources of the kind at once, so that a kind
    costs one call of its program and not one per resource.

    A kind may say more: `TRAITS`.
    """

    def read(self, resources: List[Resource]) -> Dict[str, Observation]:
        """What is there now, by the resource's id. Raises HostError, OSError or ValueError where it can't be read."""

    def differ(self, resource: Resource, seen: Observation) -> List[Difference]:
        """What is not as wanted (pure; host and controller both ask)."""

    def wanted(self, resource: Resource) -> str:
        """What is wanted, in a few words."""

    def seen_as(self, resource: Resource, seen: Observation) -> str:
        """What is there, in a few words."""

    def place(self, resource: Resource) -> str:
        """Where on a host it is, in a few words."""

    def capture(self, resources: List[Resource]) -> Dict[str, Any]:
        """All that `restore` needs, as plain JSON, before anything is written."""

    def as_before(self, resource: Resource, before: Any, now: Any) -> bool:
        """Whether what was captured before an apply and after its way back is the same."""

    def write(self, resources: List[Resource], seen: Dict[str, Observation]) -> None:
        """Make it as wanted."""

    def restore(self, resources: List[Resource], captured: Dict[str, Any]) -> None:
        """Make it as it was captured."""


KINDS: Dict[str, Kind] = {
    # Files come first, since units are read from them, and rules last, since only they can cut the way in.
    "file": file,
    "pam_limit": pam_limit,
    "sysctl": sysctl,
    "mount": mount,
    "unit": unit,
    # What listeners want of the bootstrap, and of the folders of their sockets, is there when they come.
    "xds": xds,
    "lookup": lookup,
    "slice": slice,
    "process": process,
    "ipset": ipset,
    "ruleset": ruleset,
    "frames": frames,
}
"""In the order in which they are written."""
WAY_BACK: Tuple[Tuple[str, str], ...] = (
    # The rules first, since they may be what cuts the host off; lookups go elsewhere before their resolver stops;
    # units are stopped while systemd still knows them, and started once their files are back.
    ("frames", "restore"),
    ("ipset", "restore"),
    ("ruleset", "restore"),
    ("ipset", "withdraw"),
    ("lookup", "restore"),
    ("unit", "withdraw"),
    ("file", "restore"),
    ("sysctl", "restore"),
    ("mount", "restore"),
    ("xds", "restore"),
    ("unit", "restore"),
    ("slice", "restore"),
)
"""The steps that undo an apply, in order."""
NOTHING_TO_UNDO = ("pam_limit", "process")
"""These write nothing of their own: a file of another kind, or a restart."""
TRAITS: Dict[str, Any] = {
    "IN_KERNEL": False,  # gone with a reboot, and loaded again from files
    "NEEDS_SYSTEMD": False,  # can't be rehearsed without it
    "read_image": None,  # `read`, of an image that is being built, from its files alone; None: an image can't tell
    "setters": None,  # (resource, what was seen) -> the file, or path:line, that sets each field; None: no file does
    "after": None,  # `capture` once all went back, where that sees another way
    "stands": None,  # (resource, what was seen) -> whether it acts all the same, and is not lost; None: it never does
    "withdraw": None,  # a step of the way back before `restore`
}
"""What a kind may say besides, and what it means where it does not."""


def trait(kind: str, name: str) -> Any:
    return getattr(KINDS[kind], name, TRAITS[name])


IN_THE_KERNEL = tuple(kind for kind in KINDS if trait(kind, "IN_KERNEL"))


def _check(folder: str) -> None:
    """Raises ImportError for a kind that was forgotten somewhere: one that no way back knows is never restored."""
    undone = {kind for kind, step in WAY_BACK if step == "restore"}
    if undone | set(NOTHING_TO_UNDO) != set(KINDS) or undone & set(NOTHING_TO_UNDO):
        raise ImportError("kinds in WAY_BACK or NOTHING_TO_UNDO must be those of KINDS, each once")
    said = [name for name in vars(Kind) if not name.startswith("_")]
    for kind, module in KINDS.items():
        lacking = [name for name in said if not hasattr(module, name)]
        if lacking:
            raise ImportError("the kind {} has no {}".format(kind, ", ".join(lacking)))
    names = {name[:-3] for name in os.listdir(folder) if name.endswith(".py") and name != "__init__.py"}
    if names != set(KINDS):
        raise ImportError("modules that are in no table of kinds: {}".format(", ".join(sorted(names ^ set(KINDS)))))


HERE = os.path.dirname(os.path.abspath(globals().get("__file__", "/nowhere/none")))
if os.path.isdir(HERE):  # out of memory, or out of the window's archive, there is no folder to compare with
    _check(HERE)
