"""What changed between two dumps of a host, for people to read."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping


def diff(before: Mapping[str, str], after: Mapping[str, str], *, ignore: Collection[str] = ()) -> list[str]:
    """One line for each line that came or went: `files: - /etc/fstab root:root -rw-r--r-- ...`.

    Sections named in `ignore` are left out. An empty answer says that nothing changed.
    """
    sections = [name for name in {**before, **after} if name not in ignore]
    return [line for name in sections for line in _changes(name, before.get(name, ""), after.get(name, ""))]


def _changes(section: str, before: str, after: str) -> list[str]:
    compared = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    body = list(compared)[2:]  # after the two lines that would name files
    return [f"{section}: {line[0]} {line[1:]}" for line in body if not line.startswith("@@")]
