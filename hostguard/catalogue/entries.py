"""The controls, each with what its resources are: found by compiling a policy, not written down a second time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hostguard.bundle import compile_policy
from hostguard.catalogue.how_to import HOW_TO
from hostguard.control import Control, JudgingControl
from hostguard.controls import AREAS, CATALOGUE
from hostguard.host.kinds import KINDS
from hostguard.host.resource import Resource
from hostguard.policy.load import of_variables

ASKS_OF_ALL: Mapping[str, Any] = {
    "capacity": {"peak_rps": 1000, "p99": "1s"},
    **{area.name: area.least for area in AREAS},
}
"""The least policy of which every control that wants resources wants some."""

WITHOUT = {area.name: area.without for area in AREAS}
CHECK_ONLY = "check only: hostguard changes nothing here, and the mending is yours"


@dataclass(frozen=True)
class Entry:
    """A control as documentation; `read`, `reach` and `undo` are lines, one a kind and what holds for all."""

    control: Control
    kinds: tuple[str, ...]
    read: tuple[str, ...]
    reach: tuple[str, ...]
    undo: tuple[str, ...]

    @property
    def fixed_by_apply(self) -> bool:
        return bool(self.kinds)

    @property
    def fixed(self) -> str:
        return f"fixed by apply ({', '.join(self.kinds)})" if self.kinds else "check only"


def entries(catalogue: Iterable[Control] = CATALOGUE) -> tuple[Entry, ...]:
    resources = of_policy(ASKS_OF_ALL)
    return tuple(_entry(control, resources.get(control.id, [])) for control in catalogue)


def of_policy(policy: Mapping[str, Any]) -> dict[str, list[Resource]]:
    """The resources that a policy wants, by control."""
    found: dict[str, list[Resource]] = {}
    for resource in compile_policy(of_variables(policy, "documentation")).resources:
        found.setdefault(resource["control"], []).append(resource)
    return found


def _entry(control: Control, resources: Iterable[Resource]) -> Entry:
    if isinstance(control, JudgingControl):
        return Entry(control, (), (control.evidence,), (CHECK_ONLY,), ("nothing to undo",))
    asked = {resource["kind"] for resource in resources}
    kinds = tuple(kind for kind in KINDS if kind in asked)
    # Whose a line is need be said only where there are several.
    ways = [(f"{kind}: " if len(kinds) > 1 else "", HOW_TO[kind]) for kind in kinds]
    return Entry(
        control,
        kinds,
        tuple(f"{whose}{way.read}" for whose, way in ways),
        tuple(f"{whose}{way.reach}" for whose, way in ways),
        (
            *(f"{whose}{way.undo}" for whose, way in ways),
            *(f"{whose}by hand: {way.by_hand}" for whose, way in ways),
            f"by the policy: {WITHOUT[control.area]}",
        ),
    )
