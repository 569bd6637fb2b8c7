"""Policy × catalogue → bundle: all that a host is asked and told, as plain JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hostguard.control import Context, Control, JudgingControl, WantingControl, Weakening
from hostguard.controls import CATALOGUE
from hostguard.host.evidence import COLLECTORS
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
    areas: tuple[str, ...] | None = None
    """What it speaks for; None: all areas, so that what an earlier policy wanted elsewhere is given back."""

    def bundle(self) -> dict[str, Any]:
        """What travels to a host."""
        asked = {f"{control}/{name}": request for control, of in self.evidence.items() for name, request in of.items()}
        return {
            "schema": SCHEMA,
            "policy": {"path": self.loaded.path, "sha256": self.loaded.sha256},
            "areas": None if self.areas is None else list(self.areas),
            "resources": list(self.resources),
            "evidence": asked,
        }

    def to_apply(self) -> dict[str, Any]:
        """The same for a host that keeps it: with the policy, which tells later what going back to it would cut."""
        bundle = self.bundle()
        bundle["policy"]["document"] = json.loads(json.dumps(self.loaded.data, default=str))
        return bundle

    def weakened(self, control: Control) -> Iterator[Weakening]:
        return weakened(control, self.loaded, self.context)


def context_of(loaded: LoadedPolicy) -> Context:
    return Context(loaded.policy, size(loaded.policy))


def weakened(control: Control, loaded: LoadedPolicy, context: Context) -> Iterator[Weakening]:
    """What in the policy weakens a control, with the lines where it stands."""
    for each in control.weakened(context):
        yield replace(each, line=loaded.lines.get(each.key, 0))


def compile_policy(
    loaded: LoadedPolicy, catalogue: Iterable[Control] = CATALOGUE, areas: Iterable[str] | None = None
) -> Compiled:
    """Ask every control that the policy manages (of some areas alone, if so) what it wants and what it needs to see."""
    chosen = None if areas is None else tuple(areas)
    context = context_of(loaded)
    resources: list[Resource] = []
    evidence: dict[str, dict[str, Any]] = {}
    for control in catalogue:
        if control.area not in loaded.policy.sections or (chosen is not None and control.area not in chosen):
            continue
        if isinstance(control, WantingControl):
            resources += control.wants(context)
        elif isinstance(control, JudgingControl):
            evidence[control.id] = dict(control.asks(context))
            _must_be_known(control, evidence[control.id])
    return Compiled(loaded, context, tuple(resources), evidence, chosen)


def _must_be_known(control: Control, requests: Mapping[str, Any]) -> None:
    """Raises ValueError where a control names a collector that no host has: no host is to be the first to say so."""
    unknown = {request["collect"] for request in requests.values()} - set(COLLECTORS)
    if unknown:
        raise ValueError(f"{control.id} asks for {', '.join(sorted(unknown))}: no collector of hostguard.host.evidence")
