"""The limits of a slice as the kernel enforces them: read in its cgroup files, whatever its unit file says."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Set

from .. import cgroup, unit_files
from ..resource import ABSENT, ABSENT_HERE, VALUE, Difference, HostError, Observation, Resource, value

PAGE = os.sysconf("SC_PAGE_SIZE")
FIELDS = ("memory_max", "memory_high", "cpu_quota", "tasks_max")
UNLIMITED = "unlimited"
NEEDS_SYSTEMD = True
SETTINGS = {
    "memory_max": "MemoryMax",
    "memory_high": "MemoryHigh",
    "cpu_quota": "CPUQuota",
    "tasks_max": "TasksMax",
}


def resource(control: str, unit: str, limits: Dict[str, str]) -> Resource:
    """The limits of a slice as its control group has them, by FIELDS."""
    return dict(limits, id="slice:{}".format(unit), kind="slice", control=control, slice=unit)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    seen = {}
    for resource in resources:
        path = cgroup.slice_path(resource["slice"])
        if not os.path.isdir(cgroup.folder("memory", path)):
            seen[resource["id"]] = ABSENT_HERE
            continue
        have = {field: _limit(field, path) for field in FIELDS if resource.get(field) is not None}
        seen[resource["id"]] = value({field: limit for field, limit in have.items() if limit is not None})
    return seen


def _limit(field: str, path: str) -> Optional[str]:
    """A limit in the policy's unit: bytes, percent of one CPU, tasks. None where this hierarchy has no such limit."""
    if field == "cpu_quota":
        return _quota(path)
    name = {
        "memory_max": "memory.max" if cgroup.unified() else "memory.limit_in_bytes",
        "memory_high": "memory.high",  # v1 has none, and systemd ignores MemoryHigh= there
        "tasks_max": "pids.max",
    }[field]
    text = cgroup.setting("pids" if field == "tasks_max" else "memory", path, name)
    if text is None:
        return None if field == "memory_high" and not cgroup.unified() else "no file {}".format(name)
    # v1 writes no limit as the largest multiple of a page that fits a signed long.
    return UNLIMITED if text == "max" or int(text) >= 2**63 - PAGE else text


def _quota(path: str) -> str:
    if cgroup.unified():
        quota, _, period = (cgroup.setting("cpu", path, "cpu.max") or "max 100000").partition(" ")
    else:
        quota = cgroup.setting("cpu", path, "cpu.cfs_quota_us") or "-1"
        period = cgroup.setting("cpu", path, "cpu.cfs_period_us") or "100000"
    return UNLIMITED if quota in ("max", "-1") else "{:g}".format(100 * int(quota) / int(period))


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state == ABSENT:
        return [Difference("cgroup", "absent", cgroup.slice_path(resource["slice"]))]
    if seen.state != VALUE:
        return []
    return [
        Difference(field, seen.value[field], resource[field])
        for field in FIELDS
        if field in seen.value and seen.value[field] != resource[field]
    ]


def wanted(resource: Resource) -> str:
    limits = ["{} {}".format(field, resource[field]) for field in FIELDS if resource.get(field) is not None]
    return "{}: {}".format(resource["slice"], ", ".join(limits))


def seen_as(resource: Resource, seen: Observation) -> str:
    return "{}: {}".format(resource["slice"], ", ".join("{} {}".format(*pair) for pair in sorted(seen.value.items())))


def setters(resource: Resource, seen: Observation, _fields: Set[str]) -> Dict[str, Optional[str]]:
    return dict(unit_files.settings_from(resource["slice"], SETTINGS)) if seen.state == VALUE else {}


def place(resource: Resource) -> str:
    return str(resource["slice"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {identity: seen.value for identity, seen in read(resources).items()}


def as_before(_resource: Resource, before: Any, now: Any) -> bool:
    """A cgroup is gone when nothing runs there any more, and comes with its limits when something does."""
    return before is None or now is None or bool(before == now)


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    """systemd writes these files when it starts or reloads the slice, but not when they were changed behind its
    back: it remembers what it wrote."""
    for resource in resources:
        _put({field: resource[field] for field in FIELDS if resource.get(field) is not None}, resource["slice"])


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    for resource in resources:
        if captured[resource["id"]] is not None:
            _put(captured[resource["id"]], resource["slice"])


def _put(limits: Dict[str, str], name: str) -> None:
    path = cgroup.slice_path(name)
    if not os.path.isdir(cgroup.folder("memory", path)):
        return
    for field, limit in limits.items():
        now = _limit(field, path)
        if now is None or now == limit:
            continue
        controller, file, text = _file(field, limit)
        target = os.path.join(cgroup.folder(controller, path), file)
        try:
            with open(target, "w", encoding="ascii") as out:
                out.write(text)
        except OSError as error:
            raise HostError("{}: can't write {!r}: {}".format(target, text, error.strerror)) from None


def _file(field: str, limit: str) -> "tuple[str, str, str]":
    free = limit == UNLIMITED
    if field == "tasks_max":
        return "pids", "pids.max", "max" if free else limit
    if field == "cpu_quota":
        quota = int(float(limit) * 1000) if not free else 0
        if cgroup.unified():
            return "cpu", "cpu.max", "max" if free else "{} 100000".format(quota)
        return "cpu", "cpu.cfs_quota_us", "-1" if free else str(quota)
    if cgroup.unified():
        return (
            "memory",
            {"memory_max": "memory.max", "memory_high": "memory.high"}[field],
            "max" if free else limit,
        )
    return "memory", "memory.limit_in_bytes", "-1" if free else limit
