"""Policy × catalogue → bundle: all that a host is asked and told, as plain JSON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hostguard.control import Context, Control, JudgingControl, WantingControl
from hostguard.controls import CATALOGUE
from hostguard.host.resource import Resource
from hostguard.policy.load import LoadedPolicy
from hostguard.policy.sizing import size

SCHEMA = "hostguard.bundle/1"


@dataclass(frozen=True)
class Compiled:
    """A bundle, and what the controller keeps to read the answer to it.

    `resources` in the order of the catalogue; `evidence` by control and the control's own name for it.
    """

    loaded: LoadedPolicy
    context: Context
    resources: tuple[Resource, ...]
    evidence: dict[str, dict[str, Any]]

    def bundle(self, extra: dict[str, Any] | None = None) -> dict[str, Any]:
        """What travels to a host; `extra` evidence is what a command asks beyond its controls."""
        asked = {f"{control}/{name}": request for control, of in self.evidence.items() for name, request in of.items()}
        return {
            "schema": SCHEMA,
            "policy": {"path": self.loaded.path, "sha256": self.loaded.sha256},
            "resources": list(self.resources),
            "evidence": {**asked, **(extra or {})},
        }


def compile_policy(loaded: LoadedPolicy, catalogue: Iterable[Control] = CATALOGUE) -> Compiled:
    """Ask every control that the policy manages what it wants and what it needs to see."""
    context = Context(loaded.policy, size(loaded.policy))
    resources: list[Resource] = []
    evidence: dict[str, dict[str, Any]] = {}
    for control in catalogue:
        if control.area not in loaded.policy.sections:
            continue
        if isinstance(control, WantingControl):
            resources += control.wants(context)
        elif isinstance(control, JudgingControl):
            evidence[control.id] = dict(control.asks(context))
    return Compiled(loaded, context, tuple(resources), evidence)
