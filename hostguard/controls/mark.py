"""What a process was started with, for who compares: systemd reads a file anew whenever it starts one, and gives it on.

The file goes before those that it speaks for are written, or go back, and comes after them. So a process that a crash
or a boot starts in between, with some of the old ones and some of the new, has no mark: it is started anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from hostguard.host.kinds import file
from hostguard.host.resource import Resource


def of(texts: Iterable[str]) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def resource(control: str, path: str, files: Mapping[str, str]) -> Resource:
    """The file, for `EnvironmentFile=-`, of what a process reads: texts by their paths."""
    return file.resource(control, path, f"HOSTGUARD_MARK={of(files.values())}\n", speaks_for=sorted(files))
