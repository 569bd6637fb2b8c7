"""Secrets that the agent fetched for a generation that is in force no more.

They go once no window is open that could bring that generation back: a secret is on no disk, so no record has it, and
only a server that answers gives it back.
"""

from __future__ import annotations

import os
from typing import Dict, Iterable, Optional, Set

from . import store
from .kinds import file


def forget() -> None:
    """Remove them. What the agent's note does not tell of is not its own, and stays. Raises OSError."""
    kept = _fetched([store.in_force()])
    for note, paths in _fetched(store.records()).items():
        if not os.path.lexists(note):
            continue
        for path in sorted(paths - kept.get(note, set())):
            file.remove_within(path)
            file.remove_within(os.path.dirname(path))
        if note not in kept:
            file.remove_within(note)


def _fetched(records: Iterable[Optional[store.Record]]) -> Dict[str, Set[str]]:
    """By its note, the files of each secret."""
    found: Dict[str, Set[str]] = {}
    for record in records:
        for resource in record["wanted"].values() if record else ():
            for note, paths in resource.get("fetches", {}).items():
                found.setdefault(note, set()).update(paths)
    return found
