"""Open files: of login sessions, of services, and of what runs already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hostguard.control import Area, Context, Control, WantingControl, Weakening, article, manual, soc2
from hostguard.controls.text import render
from hostguard.host.kinds import file, pam_limit, process, unit
from hostguard.host.resource import Resource
from hostguard.status import Severity

PAM_FILE = "/etc/security/limits.d/zz-hostguard.conf"
SYSTEM_FILE = "/etc/systemd/system.conf.d/zz-hostguard.conf"
SYSTEMD_HARD = 524288
"""systemd's own hard default (systemd-system.conf(5)): a service that raises its own limit keeps that right."""
DROP_IN = "/etc/systemd/system/{}.d/zz-hostguard-limits.conf"


def pam(context: Context) -> Sequence[Resource]:
    limit = context.sizing.nofile
    control = "limits.pam"
    return [
        file.resource(control, PAM_FILE, render("limits.conf.j2", nofile=limit)),
        # `*` leaves root out (limits.conf(5)).
        *(pam_limit.resource(control, domain, "nofile", limit, PAM_FILE) for domain in ("*", "root")),
    ]


def systemd_default(context: Context) -> Sequence[Resource]:
    control, limit = "limits.systemd-default", context.sizing.nofile
    hard = _hard(limit)
    return [
        file.resource(control, SYSTEM_FILE, render("system.conf.j2", soft=limit, hard=hard)),
        unit.resource(
            control,
            "",
            {"DefaultLimitNOFILE": str(hard), "DefaultLimitNOFILESoft": str(limit)},
            assigned={"DefaultLimitNOFILE": f"{limit}:{hard}"},
            file=SYSTEM_FILE,
        ),
    ]


def units(context: Context) -> Sequence[Resource]:
    control, limit = "limits.units", context.sizing.nofile
    hard = _hard(limit)
    found: list[Resource] = []
    for name in _named(context):
        path = DROP_IN.format(name)
        found.append(file.resource(control, path, render("unit-limits.conf.j2", soft=limit, hard=hard)))
        found.append(
            unit.resource(
                control,
                name,
                {"LimitNOFILE": str(hard), "LimitNOFILESoft": str(limit)},
                "limits",
                assigned={"LimitNOFILE": f"{limit}:{hard}"},
                file=path,
            )
        )
    return found


def _hard(limit: int) -> int:
    return max(limit, SYSTEMD_HARD)


def running(context: Context) -> Sequence[Resource]:
    return [process.resource("limits.running", name, nofile=context.sizing.nofile) for name in _named(context)]


def weakened(context: Context) -> Iterator[Weakening]:
    """A limit below what the capacity needs, or, without one, below the article's least."""
    limits, least = context.policy.limits, context.sizing.least_files
    if limits and limits.nofile is not None and limits.nofile < least:
        yield Weakening(("limits", "nofile"), str(limits.nofile), f"less than the {least} that are needed")


def _named(context: Context) -> Sequence[str]:
    return context.policy.limits.units if context.policy.limits else ()


FILES = article("Parameters")
TROUBLE = article("Troubleshooting Matrix")

CONTROLS: tuple[Control, ...] = (
    WantingControl(
        id="limits.pam",
        title="Login sessions may open the files they need",
        severity=Severity.MEDIUM,
        rationale="pam_limits sets the limit of sessions (SSH, su, cron), and of nothing else. The last line that "
        "names an account wins, in the order of the file names.",
        remediation="Run `hostguard apply`, and log in again. Where a later file of limits.d wins, remove its line; "
        "where a file of /etc/pam.d passes pam_limits over, mend the line that is named.",
        references=(FILES, manual("limits.conf(5)")),
        wants=pam,
        weakened=weakened,
    ),
    WantingControl(
        id="limits.systemd-default",
        title="Services start with the open files they need by default",
        severity=Severity.MEDIUM,
        rationale="systemd starts services with a soft limit of 1024 open files, whatever limits.conf says: its own "
        "DefaultLimitNOFILE= is what they get.",
        remediation="Run `hostguard apply`.",
        references=(FILES, manual("systemd-system.conf(5)")),
        wants=systemd_default,
        weakened=weakened,
    ),
    WantingControl(
        id="limits.units",
        title="The named services have the open files they need",
        severity=Severity.HIGH,
        rationale="A proxy holds two sockets for each request under way. At its limit every further one fails with "
        "EMFILE, 'Too many open files' (the article speaks of EAGAIN), while the machine is idle. The hard limit, to "
        "which a service may raise its own, stays systemd's: 524288, or the same where that is more.",
        remediation="Run `hostguard apply`. Where a later drop-in wins (`systemctl cat UNIT`), remove it.",
        references=(
            FILES,
            TROUBLE,
            soc2("A1.1", "the limit, unless the policy sets it, is derived from the peak rate and its headroom"),
            manual("systemd.exec(5)"),
        ),
        wants=units,
        weakened=weakened,
    ),
    WantingControl(
        id="limits.running",
        title="The named services' running processes have that limit",
        severity=Severity.HIGH,
        rationale="A limit is given to a process when it starts. One that was started before keeps the old one, and "
        "LimitNOFILE= above the hard limit of the machine is silently cut: only /proc/PID/limits tells.",
        remediation="Restart the service (`hostguard apply --restart`, or `systemctl restart UNIT` when it suits). "
        "If it keeps the old value, the machine or container gives no more: raise its hard limit.",
        references=(TROUBLE, manual("proc_pid_limits(5)")),
        wants=running,
        weakened=weakened,
    ),
)

AREA = Area(
    name="limits",
    controls=CONTROLS,
    least={"units": ["proxy.service"]},
    without="leave the service out of `limits.units`, or `limits` out as a whole: the next apply gives it back",
    role="resource_limits",
    does="Open files of sessions and services",
    reads=("capacity",),
)
