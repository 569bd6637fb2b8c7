"""What a process was started with, for who compares: systemd reads a file anew whenever it starts one, and gives it on.

The file is written before those that it speaks for, and goes back after them. So no process that a crash or a boot
starts between two of them has the mark of the old ones: who goes back starts it anew.
"""

from __future__ import annotations

import hashlib

from hostguard.host.kinds import file
from hostguard.host.resource import Resource


def of(*texts: str) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def resource(control: str, path: str, mark: str) -> Resource:
    """The file, for `EnvironmentFile=`: the first of its control's."""
    return file.resource(control, path, f"HOSTGUARD_MARK={mark}\n", last=True)
