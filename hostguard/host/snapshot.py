"""Look at a host: the facts, what was seen of every resource, and the evidence that the controller asked for."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Tuple

from . import facts, store, systemctl
from .kinds import KINDS, process, unit
from .program import each_once
from .resource import (
    Difference,
    HostError,
    Observation,
    Resource,
    legible,
    partition,
    placeholders,
    resolve,
    unreadable,
    why,
)


def observe(resources: List[Resource]) -> Tuple[List[Resource], Dict[str, Observation]]:
    """The resources with this host's facts filled in, and what was seen of each."""
    known = facts.gather(placeholders(resources))
    resolved = [resolve(resource, known) for resource in resources]
    return resolved, look(resolved)


def look(resolved: List[Resource]) -> Dict[str, Observation]:
    able, blocked = partition(resolved)
    seen = {resource["id"]: unreadable(resource["blocked"]) for resource in blocked}
    for kind, members in by_kind(able).items():
        seen.update(read(KINDS[kind].read, members))
    return seen


def read(how: Callable[[List[Resource]], Dict[str, Observation]], members: List[Resource]) -> Dict[str, Observation]:
    """Resources of one kind, as far as they can be read: what is odd about one hides none of the others.

    The one place where a failure to read becomes `unreadable`, whatever it is: kinds raise.
    """
    try:
        return how(members)
    except HostError as error:
        return {r["id"]: unreadable(why(error, r["id"])) for r in members}  # a program's: one by one it fails again
    except Exception as error:
        if len(members) > 1:
            return {identity: seen for r in members for identity, seen in read(how, [r]).items()}
        return {members[0]["id"]: unreadable(why(error, members[0]["id"]))}


def by_kind(resources: List[Resource]) -> Dict[str, List[Resource]]:
    """Resources grouped by kind, in the order in which kinds are written."""
    groups: Dict[str, List[Resource]] = {kind: [] for kind in KINDS}
    for resource in resources:
        groups[resource["kind"]].append(resource)
    return {kind: members for kind, members in groups.items() if members}


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    """The one comparison that plan, apply and audit share."""
    if resource.get("blocked"):
        return [Difference("prerequisite", "missing", "present", resource["blocked"])]
    return [Difference(*map(legible, each)) for each in KINDS[resource["kind"]].differ(resource, seen)]


def take(bundle: Dict[str, Any]) -> Dict[str, Any]:
    """The whole answer to one question, as plain JSON."""
    # Here, since an apply needs none of it: a host compiles what is imported, at every call.
    from . import evidence
    from .evidence.services import ENVIRONMENT

    of_units = [r for r in bundle["resources"] if r["kind"] in ("unit", "process")]
    environment = any(r["collect"] == "unit-environment" for r in bundle["evidence"].values())
    services = [systemctl.SERVICES] if environment else []
    properties = [*unit.properties_of(of_units), *process.ASKED, *ENVIRONMENT]
    asked = [*unit.names(of_units), *(name for r in bundle["evidence"].values() for name in r.get("units", []))]
    with each_once(), systemctl.asked_once([*asked, *services], properties):
        resolved, seen = observe(bundle["resources"])
        return {
            "resources": resolved,
            "observations": {identity: list(observation) for identity, observation in seen.items()},
            "leftovers": _leftovers(resolved, bundle["areas"]),
            "evidence": evidence.collect(bundle["evidence"]),
        }


def _leftovers(resources: List[Resource], areas: Optional[List[str]]) -> Optional[List[Resource]]:
    """What an apply would give back; None for who may not read the generations."""
    try:
        return store.leftovers(store.current(), resources, areas)
    except HostError:
        return None
