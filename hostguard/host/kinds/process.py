"""The running processes of a service: the limits and the cgroup that they really have.

A drop-in acts when a process starts. Until then the old values hold, and only /proc tells: LimitNOFILE=65535
starts without an error under a hard limit of 20,000, and the process gets 20,000.
"""

from __future__ import annotations

import time
from typing import Any, Dict, List, NamedTuple, Optional

from .. import cgroup, proc, systemctl
from ..children import each_aside
from ..resource import VALUE, Difference, HostError, Observation, Resource, not_applicable, unreadable, value

ASKED = ["ControlGroup", "MainPID"]
NEEDS_SYSTEMD = True


def resource(control: str, unit: str, nofile: Optional[int] = None, slice: str = "") -> Resource:
    """The processes of a service: with so many open files at least, or in a slice."""
    of_process: Resource = {"kind": "process", "control": control, "unit": unit}
    if nofile is not None:
        return dict(of_process, id="process:{}:nofile".format(unit), nofile=nofile)
    return dict(of_process, id="process:{}:slice".format(unit), slice=slice)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    if not systemctl.systemd_runs():
        raise HostError("systemd does not run here")
    return _observe(resources, systemctl.show([r["unit"] for r in resources], ASKED))


def _observe(resources: List[Resource], shown: Dict[str, Dict[str, str]]) -> Dict[str, Observation]:
    units = sorted({resource["unit"] for resource in resources})
    found = {}
    for unit, each in zip(units, each_aside(_running, [shown[unit] for unit in units])):
        if "unreadable" in each:
            found[unit] = unreadable(each["unreadable"])
        elif each["said"] is None:
            found[unit] = not_applicable("{} has no running process".format(unit))
        else:
            found[unit] = value(each["said"])
    return {resource["id"]: found[resource["unit"]] for resource in resources}


def _running(shown: Dict[str, str]) -> Optional[Dict[str, Any]]:
    """What the processes of a service have; None where none runs."""
    path, main = shown.get("ControlGroup", ""), int(shown.get("MainPID") or 0)
    processes = cgroup.processes(path) if path else []
    if main and main not in processes:
        processes.append(main)  # it was moved out, and is the service's all the same
    found: List[Running] = []
    for pid in processes:
        proc.looking_at(pid)
        try:
            found.append(Running(pid, proc.soft_limit(pid, proc.FILES), cgroup.paths_of(pid), proc.started(pid)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        except OSError as error:
            raise HostError("/proc/{}/limits: {}".format(pid, error.strerror)) from None
    if not found:
        return None
    begun = next((each.started for each in found if each.pid == main), 0)
    anew = [each for each in found if each.started >= begun]
    return {**_worst(found, path), "processes": len(found), "since_start": _worst(anew, path)}


class Running(NamedTuple):
    """One process of a service; `started` in ticks since the boot."""

    pid: int
    nofile: int
    groups: List[str]
    started: int


def _worst(found: List[Running], path: str) -> Dict[str, Any]:
    worst = min(found, key=lambda each: each.nofile)
    groups = dict.fromkeys([path, *(group for each in found for group in each.groups)])
    return {"pid": worst.pid, "command": proc.command(worst.pid), "nofile": worst.nofile, "cgroups": list(groups)}


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    found = []
    if resource.get("nofile") is not None and seen.value["nofile"] < resource["nofile"]:
        have = "{nofile} (process {pid}, {command})".format(**seen.value)
        found.append(Difference("open files", have, "≥ {}".format(resource["nofile"]), restart=resource["unit"]))
    wanted_slice = resource.get("slice", "")
    outside = [path for path in seen.value["cgroups"] if wanted_slice and not _inside(path, wanted_slice)]
    if outside:
        found.append(Difference("cgroup", outside[0], wanted_slice, restart=resource["unit"]))
    return found


def outlived_restart(resource: Resource, seen: Observation) -> str:
    """Which process keeps its old values though the service was started anew (KillMode=process, as containerd's shims
    and open sessions of sshd have it); "" where none does, or where the service itself has not what is wanted."""
    if seen.state != VALUE or not differ(resource, seen):
        return ""
    if differ(resource, value(dict(seen.value["since_start"], processes=0))):
        return ""
    return "process {pid} ({command}) of {unit} outlived its restart, and keeps what it had".format(
        unit=resource["unit"], **seen.value
    )


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


def place(resource: Resource) -> str:
    return str(resource["unit"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {r["id"]: None for r in resources}


def as_before(_resource: Resource, _before: None, _now: None) -> bool:
    return True  # nothing is written, so nothing is to go back


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    """Only reached with --restart: a service is somebody's traffic."""
    units = sorted({r["unit"] for r in resources})
    systemctl.restart(units)
    for each in units:
        _until_it_runs(each)


SETTING_UP = 10.0
"""Seconds in which systemd has made a service of the process that it forked."""


def _until_it_runs(name: str) -> None:
    """Of a Type=simple service systemctl returns once there is a process, which still has systemd's own cgroup and
    limits: as long as it is called by the program's name in brackets (exec_child in systemd's exec-invoke.c)."""
    end = time.monotonic() + SETTING_UP
    while time.monotonic() < end:
        main = int(systemctl.show([name], ASKED)[name].get("MainPID") or 0)
        if not main or not proc.command(main).startswith("("):
            return
        time.sleep(0.02)


def outlived(resources: List[Resource]) -> List[str]:
    """Units whose running process still has what a resource gave it, though its unit does not ask for it now."""
    if not resources or not systemctl.systemd_runs():
        return []
    shown = systemctl.show([r["unit"] for r in resources], [*ASKED, "LimitNOFILESoft", "Slice"])
    found, all_seen = [], _observe(resources, shown)
    for resource in resources:
        now, seen = shown[resource["unit"]], all_seen[resource["id"]]
        if seen.state != VALUE:
            continue
        wanted_slice, nofile = resource.get("slice"), resource.get("nofile")
        in_slice = wanted_slice and _inside(seen.value["cgroups"][0], wanted_slice) and now["Slice"] != wanted_slice
        if in_slice or (seen.value["nofile"] == nofile and now["LimitNOFILESoft"] != str(nofile)):
            found.append(resource["unit"])
    return sorted(set(found))


def restore(_resources: List[Resource], _captured: Dict[str, Any]) -> None:
    """A restarted service stays as it runs; its files and units have gone back, and its next start follows them."""
