"""What became of the connections of a diagnosis, each beside the place that it was made to (pure)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.diagnose import probes
from hostguard.diagnose.probes import Target
from hostguard.diagnose.rule import Asked, Unread

DAY = 86400


def by_target(asked: Asked, said: Mapping[str, Any]) -> Iterator[tuple[Target, Mapping[str, Any]] | Unread]:
    """Raises ValueError where a host tells of other places than it was asked for."""
    for target, each in zip(probes.targets(asked), said["found"], strict=True):
        yield (
            (target, each["said"]) if "said" in each else Unread(f"{target.named}: {each.get('unreadable', 'no word')}")
        )


def day(seconds: int) -> str:
    """A day in UTC; what no calendar has stays a number."""
    try:
        return time.strftime("%Y-%m-%d", time.gmtime(seconds))
    except (ValueError, OverflowError, OSError):
        return f"second {seconds}"


def called(certificate: Mapping[str, Any]) -> str:
    return f"`{certificate['subject'] or 'a certificate without a name'}`"
