"""The catalogue: a file per area, and in it everything about each of its controls."""

from __future__ import annotations

import difflib
import pkgutil

from hostguard.control import Area, Control
from hostguard.controls import egress, gateway, kernel, limits, platform, secrets, slices
from hostguard.policy.model import NO_SECTIONS, Policy

AREAS: tuple[Area, ...] = (
    platform.AREA,
    egress.AREA,
    gateway.AREA,
    kernel.AREA,
    limits.AREA,
    slices.AREA,
    secrets.AREA,
)
CATALOGUE: tuple[Control, ...] = tuple(control for area in AREAS for control in area.controls)
NO_AREAS = ("capacity",)
"""Sections of a policy of which nothing is asked: others are derived from them."""


def _check() -> None:
    """Raises ImportError for an area that was forgotten: a section that no control asks of a host passes unseen."""
    named = [area.name for area in AREAS]
    sections = set(Policy.model_fields) - {*NO_SECTIONS, *NO_AREAS}
    # To Ansible's importer, which stands in for Python's in a collection, a folder without modules is a package too.
    modules = {module.name for module in pkgutil.iter_modules(__path__)} - {"mark", "templates", "text"}
    if len(set(named)) < len(named) or set(named) != sections or set(named) != modules:
        said = f"areas {sorted(named)}, sections of a policy {sorted(sections)}, modules of controls {sorted(modules)}"
        raise ImportError(f"these must be the same: {said}")
    if stray := [control.id for area in AREAS for control in area.controls if control.area != area.name]:
        raise ImportError(f"controls of another area than they are named after: {', '.join(stray)}")


_check()


def hint(name: str) -> str:
    """What may have been meant by a control, or an `area.*`, that is none."""
    every = ".*" if name.endswith(".*") else ""
    known = {control.area if every else control.id for control in CATALOGUE}
    near = [each + every for each in difflib.get_close_matches(name.removesuffix(every), sorted(known), n=3)]
    return f"did you mean {' or '.join(near)}?" if near else "`hostguard checks` lists them"
