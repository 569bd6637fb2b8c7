"""The catalogue: a file per area, and in it everything about each of its controls."""

from __future__ import annotations

from hostguard.control import Control
from hostguard.controls import egress, kernel, limits, platform, secrets, slices

CATALOGUE: tuple[Control, ...] = (
    *platform.CONTROLS,
    *egress.CONTROLS,
    *kernel.CONTROLS,
    *limits.CONTROLS,
    *slices.CONTROLS,
    *secrets.CONTROLS,
)
