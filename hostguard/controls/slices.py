"""Slices: what a service may take of memory, CPU and tasks, so that the rest of the host lives on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hostguard.control import Area, Context, Control, WantingControl, article, manual, nist
from hostguard.controls.text import render
from hostguard.host.kinds import file, process, slice, unit
from hostguard.host.resource import Resource
from hostguard.status import Severity

DROP_IN = "/etc/systemd/system/{}.d/zz-hostguard-slice.conf"


def limits(context: Context) -> Sequence[Resource]:
    control = "slices.limits"
    found: list[Resource] = []
    for name, wanted in (context.policy.slices or {}).items():
        of_slice = unit_name(name)
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
            file.resource(control, f"/etc/systemd/system/{of_slice}", content),
            unit.resource(control, of_slice, properties, ours=True, enabled=True, active=True),
            slice.resource(control, of_slice, cgroup),
        ]
    return found


def members(context: Context) -> Sequence[Resource]:
    control = "slices.members"
    found: list[Resource] = []
    for name, service in _members(context):
        path, of_slice = DROP_IN.format(service), unit_name(name)
        found += [
            file.resource(control, path, render("unit-slice.conf.j2", slice=of_slice)),
            # A running service keeps its slice until it is restarted, and systemd says no other meanwhile.
            unit.resource(control, service, {}, "slice", assigned={"Slice": of_slice}, file=path),
        ]
    return found


def running(context: Context) -> Sequence[Resource]:
    return [process.resource("slices.running", service, slice=unit_name(name)) for name, service in _members(context)]


def _members(context: Context) -> Iterator[tuple[str, str]]:
    for name, wanted in (context.policy.slices or {}).items():
        for service in wanted.units:
            yield name, service


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
