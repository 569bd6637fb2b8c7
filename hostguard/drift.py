"""What differs from the last applied generation, and what did it where that can be known (pure)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from hostguard.control import Control, WantingControl
from hostguard.controls import CATALOGUE
from hostguard.host.kinds import IN_THE_KERNEL
from hostguard.host.kinds.sysctl import OUR_FILE
from hostguard.host.resource import Resource
from hostguard.result import Change, HostReport, Result
from hostguard.seen import Seen
from hostguard.status import Severity
from hostguard.verdict import cant_judge, in_words, of_resources
from hostguard.visible import cut

REQUEST = {"do": "drift"}
NOT_KNOWN = "not known"
ID = re.compile(r"[a-z]+\.[a-z0-9-]+")


def judge(host: str, answer: Mapping[str, Any], catalogue: Iterable[Control] = CATALOGUE) -> HostReport:
    """The controls that the last apply was for, each as it is now; what judges evidence alone was never applied."""
    # What was applied only the host knows. That it was nothing is no reason to pass.
    seen = Seen.of({"resources": answer["resources"], "evidence": {}}, answer)
    if not seen.resources:
        return unreached(host, "the host says that its last apply wanted nothing", catalogue)
    by_control: dict[str, list[Resource]] = {}
    for resource in seen.resources:
        by_control.setdefault(resource["control"], []).append(resource)
    known = {control.id: control for control in catalogue}
    results = []
    for name, resources in by_control.items():
        control = known.get(name)
        control = control if isinstance(control, WantingControl) else _of_another(name)
        try:
            changes = tuple(_changes(resources, seen, answer))
            results.append(replace(of_resources(control, resources, seen), drift=changes))
        except Exception as error:  # whatever a host's odd value makes of it: it was not seen
            results.append(cant_judge(control, error))
    return HostReport(host, tuple(results))


def unreached(host: str, reason: str, catalogue: Iterable[Control] = CATALOGUE) -> HostReport:
    """A host that did not answer, or has no generation: nothing that an apply could be for passes."""
    wanting = (control for control in catalogue if isinstance(control, WantingControl))
    return HostReport(host, tuple(Result(c, "unknown", c.severity, "", reason, "") for c in wanting))


def _of_another(name: str) -> WantingControl:
    """A control that an older or newer hostguard applied, and this one does not have."""
    return WantingControl(
        # Formats take an ID as it is, and this one is a host's word.
        id=name if ID.fullmatch(name) else "other.unnamed",
        title="A control that this hostguard does not have",
        severity=Severity.HIGH,
        rationale="",
        remediation="Run `hostguard apply`.",
        references=(),
        wants=lambda _: (),
    )


def _changes(resources: Iterable[Resource], seen: Seen, answer: Mapping[str, Any]) -> Iterator[Change]:
    ours = {OUR_FILE, *(r["path"] for r in seen.resources if r["kind"] in ("file", "lookup"))}
    for resource in resources:
        for difference in seen.differ(resource):
            place = answer["traces"]["setters"].get(resource["id"], {}).get(difference.field, "")
            since, by = _blame(resource["kind"], place, ours, answer)
            yield Change(cut(in_words(resource, difference)), cut(since), cut(by))


def _blame(kind: str, place: str, ours: Collection[str], answer: Mapping[str, Any]) -> tuple[str, str]:
    """Since when, and by what. That somebody else's file sets it is certain; who wrote to ours is not known."""
    path, traces = re.sub(r":[0-9]+$", "", place), answer["traces"]
    if file := traces["files"].get(path):
        package = {None: "", "": ", of no package"}.get(file["package"], f", of the package {file['package']}")
        who = f"{file['owner']}'s{package}"
        return file["changed"], f"{NOT_KNOWN} ({path} is {who})" if path in ours else f"{place} ({who})"
    applied = answer["generation"]["created"]
    later = [f"{unit} ({at})" for unit, at in sorted(traces["started"].items()) if at >= applied]
    if later and kind in IN_THE_KERNEL:
        return "", f"{NOT_KNOWN}; started since the apply: {', '.join(later)}"
    return "", NOT_KNOWN
