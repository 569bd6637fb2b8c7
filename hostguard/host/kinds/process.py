"""The running processes of a service: the limits and the cgroup that they really have.

A drop-in acts when a process starts. Until then the old values hold, and only /proc tells: LimitNOFILE=65535
starts without an error under a hard limit of 20,000, and the process gets 20,000.
"""

from __future__ import annotations

from typing import Any, Dict, List

from .. import cgroup
from ..resource import VALUE, Difference, HostError, Observation, Resource, not_applicable, unreadable, value
from . import unit

ASKED = ["ControlGroup", "MainPID"]


def read(resources: List[Resource]) -> Dict[str, Observation]:
    if not unit.systemd_runs():
        raise HostError("systemd does not run here")
    shown = unit.show([r["unit"] for r in resources], ASKED)
    return {r["id"]: _observe(r, shown[r["unit"]]) for r in resources}


def _observe(resource: Resource, shown: Dict[str, str]) -> Observation:
    path, main = shown.get("ControlGroup", ""), int(shown.get("MainPID") or 0)
    processes = cgroup.processes(path) if path else []
    if main and main not in processes:
        processes.append(main)  # it was moved out, and is the service's all the same
    limits: Dict[int, int] = {}
    groups: Dict[str, None] = {path: None}
    for pid in processes:
        try:
            limits[pid] = open_files(pid)
            groups.update(dict.fromkeys(cgroup.paths_of(pid)))
        except FileNotFoundError:
            continue  # it ended while we looked
        except OSError as error:
            return unreadable("/proc/{}/limits: {}".format(pid, error.strerror))
    if not limits:
        return not_applicable("{} has no running process".format(resource["unit"]))
    worst = min(limits, key=lambda pid: limits[pid])
    return value({"pid": worst, "nofile": limits[worst], "cgroups": list(groups), "processes": len(processes)})


def open_files(pid: int) -> int:
    """The soft limit of open files of a process."""
    with open("/proc/{}/limits".format(pid), encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("Max open files"):
                soft = line.split()[3]
                return 2**63 if soft == "unlimited" else int(soft)
    return 0


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    found = []
    if resource.get("nofile") is not None and seen.value["nofile"] < resource["nofile"]:
        have = "{} (process {})".format(seen.value["nofile"], seen.value["pid"])
        found.append(Difference("open files", have, "≥ {}".format(resource["nofile"]), restart=resource["unit"]))
    wanted_slice = resource.get("slice", "")
    outside = [path for path in seen.value["cgroups"] if wanted_slice and not _inside(path, wanted_slice)]
    if outside:
        found.append(Difference("cgroup", outside[0], wanted_slice, restart=resource["unit"]))
    return found


def _inside(path: str, name: str) -> bool:
    return (path + "/").startswith(cgroup.slice_path(name) + "/")


def wanted(resource: Resource) -> str:
    if resource.get("slice"):
        return "{} runs in {}".format(resource["unit"], resource["slice"])
    return "{} runs with ≥ {} open files".format(resource["unit"], resource["nofile"])


def seen_as(resource: Resource, seen: Observation) -> str:
    if resource.get("slice"):
        return "{} runs in {}".format(resource["unit"], seen.value["cgroups"][0])
    return "{} runs with {} open files".format(resource["unit"], seen.value["nofile"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {r["id"]: None for r in resources}


def as_before(_resource: Resource, _before: None, _now: None) -> bool:
    return True  # nothing is written, so nothing is to go back


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    """Only reached with --restart: a service is somebody's traffic."""
    unit.restart(sorted({r["unit"] for r in resources}))


def outlived(resources: List[Resource]) -> List[str]:
    """Units whose running process still has what a resource gave it, though its unit does not ask for it now."""
    if not resources or not unit.systemd_runs():
        return []
    shown = unit.show([r["unit"] for r in resources], [*ASKED, "LimitNOFILESoft", "Slice"])
    found = []
    for resource in resources:
        now = shown[resource["unit"]]
        seen = _observe(resource, now)
        if seen.state != VALUE:
            continue
        wanted_slice, nofile = resource.get("slice"), resource.get("nofile")
        in_slice = wanted_slice and _inside(seen.value["cgroups"][0], wanted_slice) and now["Slice"] != wanted_slice
        if in_slice or (seen.value["nofile"] == nofile and now["LimitNOFILESoft"] != str(nofile)):
            found.append(resource["unit"])
    return sorted(set(found))


def restore(_resources: List[Resource], _captured: Dict[str, Any]) -> None:
    """A restarted service stays as it runs; its files and units have gone back, and its next start follows them."""
