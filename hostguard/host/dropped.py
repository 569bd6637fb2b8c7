"""Secrets that the agent fetched for a generation that is in force no more.

They go when the window of the transaction that dropped them closes, and not before: a secret is on no disk, so no
record has it, and only a server that answers gives it back.
"""

from __future__ import annotations

import os
from typing import Iterable, List, Optional, Set

from . import store
from .kinds import file
from .resource import Resource


def forget(generation: int) -> None:
    """What this transaction dropped, or had fetched and is undone: its last word is said. Raises OSError."""
    record = next((record for record in store.records() if record["number"] == generation), None)
    if record is None:
        return
    kept = _secrets(store.in_force())
    if any("holds" not in resource for resource in kept):
        return  # written by an older hostguard: it does not say what it keeps
    over = [each for each in store.records() if each["number"] in record.get("gone", [])]
    fetched = _paths(_secrets(record, store.in_force(before=generation), *over), "fetches")
    stay = _paths(kept, "holds")
    for path in sorted(fetched - stay):
        file.remove_within(path)
    for folder in {os.path.dirname(path) for path in fetched} - {os.path.dirname(path) for path in stay}:
        file.remove_within(folder)


def _secrets(*records: Optional[store.Record]) -> List[Resource]:
    """The tmpfs of each."""
    return [
        resource
        for record in records
        if record
        for resource in record["wanted"].values()
        if resource["kind"] == "mount"
    ]


def _paths(resources: Iterable[Resource], what: str) -> Set[str]:
    return {path for resource in resources for path in resource.get(what, [])}
