"""Slices: what a service may take of memory, CPU and tasks, so that the rest of the host lives on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hostguard.control import Area, Context, Control, WantingControl, article, manual, nist
from hostguard.controls.text import file, render
from hostguard.host.resource import Resource
from hostguard.status import Severity

DROP_IN = "/etc/systemd/system/{}.d/zz-hostguard-slice.conf"


def limits(context: Context) -> Sequence[Resource]:
    control = "slices.limits"
    found: list[Resource] = []
    for name, wanted in (context.policy.slices or {}).items():
        unit = unit_name(name)
        memory_max = wanted.memory_max if wanted.memory_max is not None else context.sizing.memory_high
        properties: dict[str, str] = {}
        cgroup: dict[str, str] = {}
        if memory_max is not None:
            properties["MemoryMax"] = cgroup["memory_max"] = str(memory_max)
        if wanted.memory_high is not None:
            properties["MemoryHigh"] = cgroup["memory_high"] = str(wanted.memory_high)
        if wanted.cpu_quota is not None:
            cgroup["cpu_quota"] = f"{wanted.cpu_quota:g}"
        if wanted.tasks_max is not None:
            properties["TasksMax"] = cgroup["tasks_max"] = str(wanted.tasks_max)
        content = render("slice.j2", name=name, properties=properties, cpu_quota=cgroup.get("cpu_quota"))
        found += [
            file(control, f"/etc/systemd/system/{unit}", content),
            {"id": f"unit:{unit}", "kind": "unit", "control": control, "unit": unit, "ours": True,
             "enabled": True, "active": True, "properties": properties},
            {"id": f"slice:{unit}", "kind": "slice", "control": control, "slice": unit, **cgroup},
        ]  # fmt: skip
    return found


def members(context: Context) -> Sequence[Resource]:
    control = "slices.members"
    found: list[Resource] = []
    for name, unit in _members(context):
        found += [
            file(control, DROP_IN.format(unit), render("unit-slice.conf.j2", slice=unit_name(name))),
            # A running service keeps its slice until it is restarted, and systemd says no other meanwhile.
            {"id": f"unit:{unit}:slice", "kind": "unit", "control": control, "unit": unit, "properties": {},
             "assigned": {"Slice": unit_name(name)}, "file": DROP_IN.format(unit)},
        ]  # fmt: skip
    return found


def running(context: Context) -> Sequence[Resource]:
    return [
        {"id": f"process:{unit}:slice", "kind": "process", "control": "slices.running", "unit": unit,
         "slice": unit_name(name)}
        for name, unit in _members(context)
    ]  # fmt: skip


def _members(context: Context) -> Iterator[tuple[str, str]]:
    for name, wanted in (context.policy.slices or {}).items():
        for unit in wanted.units:
            yield name, unit


def unit_name(name: str) -> str:
    return f"hostguard-{name}.slice"


ISOLATION = article("Optimization And Hardening")
QUOTA = nist("SC-6", "by quota")
MEMBER = nist("SC-6", "a quota holds for what is inside it")

CONTROLS: tuple[Control, ...] = (
    WantingControl(
        id="slices.limits",
        title="Each slice has its limits, in the kernel's own files",
        severity=Severity.MEDIUM,
        rationale="A flood of answers or retries must not take the memory, the CPU or the process table of the whole "
        "host. The kernel enforces what stands in the cgroup's files; a unit file is only the intention. A limit that "
        "is left out is none, but `memory_max`, which follows from the capacity.",
        remediation="Run `hostguard apply`.",
        references=(ISOLATION, QUOTA, manual("systemd.resource-control(5)")),
        wants=limits,
    ),
    WantingControl(
        id="slices.members",
        title="The services belong to their slices",
        severity=Severity.MEDIUM,
        rationale="A slice bounds what is in it. Slice= in a drop-in moves a service into it at its next start.",
        remediation="Run `hostguard apply`. Where a later drop-in wins (`systemctl cat UNIT`), remove it.",
        references=(ISOLATION, MEMBER, manual("systemd.resource-control(5)")),
        wants=members,
    ),
    WantingControl(
        id="slices.running",
        title="The services' running processes are inside their slice",
        severity=Severity.MEDIUM,
        rationale="A service that was started before its drop-in runs on outside the slice, without any limit.",
        remediation="Restart the service: `hostguard apply --restart`, or `systemctl restart UNIT` when it suits.",
        references=(ISOLATION, MEMBER, manual("cgroups(7)")),
        wants=running,
    ),
)

AREA = Area(
    name="slices",
    controls=CONTROLS,
    least={"proxy": {"units": ["proxy.service"], "memory_max": "64M"}},
    without="leave the service or the slice out of `slices`: the next apply gives it back",
    role="service_slices",
    does="Memory, CPU and tasks of services",
    reads=("capacity",),
)
