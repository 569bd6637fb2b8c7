"""What becomes of a control, how severe it is, and what a command's exit code says: the one table of each.

Imports nothing of ours, and nothing heavy: every command needs it at its start.
"""

from __future__ import annotations

import enum
from typing import Literal, get_args

Status = Literal["pass", "fail", "unknown", "waived", "not_applicable"]
STATUSES: tuple[Status, ...] = get_args(Status)


class Severity(enum.StrEnum):
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    def reaches(self, gate: Severity) -> bool:
        """Whether it is as severe as the gate, or more so."""
        severest_first = list(Severity)
        return severest_first.index(self) <= severest_first.index(gate)


class Exit(enum.IntEnum):
    """What a command's exit code says."""

    WELL = 0
    FAILED = 1
    """A control fails, or a host was rolled back."""
    CALL = 2
    """The call or the policy is wrong; nothing was touched."""
    UNSEEN = 3
    """Something could not be checked or reached."""
    ITSELF = 4
    """hostguard itself failed, or its result could not be written: nothing is known of the host."""
