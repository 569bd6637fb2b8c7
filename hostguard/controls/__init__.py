"""The catalogue: a file per area, and in it everything about each of its controls."""

from __future__ import annotations

import difflib

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


def hint(name: str) -> str:
    """What may have been meant by a control, or an `area.*`, that is none."""
    every = ".*" if name.endswith(".*") else ""
    known = {control.area if every else control.id for control in CATALOGUE}
    near = [each + every for each in difflib.get_close_matches(name.removesuffix(every), sorted(known), n=3)]
    return f"did you mean {' or '.join(near)}?" if near else "`hostguard checks` lists them"
