"""The kinds of resource, in the order in which they are written; a way back goes the other way round.

A kind is a module of eight functions: `read` and `capture` look, `differ`, `wanted` and `seen_as` are pure and
serve the host and the controller both, `write` and `restore` change the host. They take all the resources of
their kind at once, so that a kind costs one call of its program and not one per resource.

Files come first, since units are read from them, and rules last, since only they can cut the way in.
"""

from __future__ import annotations

from types import ModuleType
from typing import Dict

from . import file, frames, ipset, lookup, mount, pam_limit, process, ruleset, slice, sysctl, unit

KINDS: Dict[str, ModuleType] = {
    "file": file,
    "pam_limit": pam_limit,
    "sysctl": sysctl,
    "mount": mount,
    "unit": unit,
    "lookup": lookup,
    "slice": slice,
    "process": process,
    "ipset": ipset,
    "ruleset": ruleset,
    "frames": frames,
}
IN_THE_KERNEL = ("ipset", "ruleset", "frames")
"""Gone with a reboot, and loaded again from files."""
