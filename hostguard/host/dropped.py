"""Secrets that the agent fetched for a generation that is in force no more.

They go when the window of the transaction that dropped them closes, and not before: a secret is on no disk, so no
record has it, and only a server that answers gives it back.
"""

from __future__ import annotations

import os
from typing import Iterable, List, Optional, Set

from . import store
from .kept_file import remove_within
from .resource import Resource


def forget(generation: int) -> None:
    """What this transaction dropped, or had fetched and is undone. Its last word is said. Raises HostError, OSError."""
    kept: Optional[List[Resource]] = None
    fetched: Set[str] = set()
    undone: List[int] = []
    for record in store.newest_first():
        in_force = record["status"] == store.APPLIED
        tmpfs = [resource for resource in record["wanted"].values() if resource["kind"] == "mount"]
        if record["number"] == generation:
            undone = record.get("gone", [])
        if in_force or record["number"] in [generation, *undone]:
            fetched |= _paths(tmpfs, "fetches")
        if in_force and kept is None:
            kept = tmpfs
        if in_force and record["number"] < generation:
            break
    if any("holds" not in resource for resource in kept or []):
        return  # written by an older hostguard: it does not say what it keeps
    stay = _paths(kept or [], "holds")
    for path in sorted(fetched - stay):
        remove_within(path)
    for folder in {os.path.dirname(path) for path in fetched} - {os.path.dirname(path) for path in stay}:
        remove_within(folder)


def overwritten(previous: Optional[store.Record], resources: List[Resource]) -> List[str]:
    """Secrets that somebody else put where the agent would write over them: no record has them, so no way back would
    bring them again."""
    known = _paths(previous["wanted"].values(), "fetches") if previous else set()
    new = sorted(_paths(resources, "fetches") - known)
    said = "{} is there already, and the agent would write over it: move it away"
    return [said.format(path) for path in new if os.path.lexists(path)]


def _paths(resources: Iterable[Resource], what: str) -> Set[str]:
    return {path for resource in resources for path in resource.get(what, [])}
