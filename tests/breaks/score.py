"""The score of a test run: what was broken, and what the audit made of it."""

from __future__ import annotations

from collections import Counter

from hostguard.controls import CATALOGUE
from tests.breaks import EVERY, MISSING

tried: list[str] = []
noticed: list[str] = []


def count(name: str, failing: set[str], controls: set[str]) -> None:
    """Count a break, and fail unless exactly these controls do."""
    tried.append(name)
    assert failing == controls, sorted(failing ^ controls)
    noticed.append(name)


def fewer_than_two() -> list[str]:
    breaks = Counter(each.control for each in EVERY)
    return [control.id for control in CATALOGUE if breaks[control.id] < 2]


def line() -> str:
    """For the end of a run; "" where nothing was broken in it."""
    if not tried:
        return ""
    few = "; ".join(f"{control} ({MISSING.get(control, 'no reason given')})" for control in fewer_than_two())
    return (
        f"breaks: {len(noticed)} of {len(tried)} noticed, each by exactly its control; "
        f"controls with fewer than two: {few or 'none'}"
    )
