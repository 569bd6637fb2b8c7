"""Breaks of limits and slices."""

from __future__ import annotations

from tests.breaks.model import RELOAD, UNIT, Break, away, file

D = f"{UNIT}/envoy.service.d"
LIMITS_D = "/etc/security/limits.d"
SLICE = "hostguard-egress.slice"
MANAGER = "/etc/systemd/system.conf.d"
RESTART = "systemctl restart envoy"
# A reload alone leaves the kernel's files as they are (systemd 257).
ANEW = f"{RELOAD}; systemctl stop {SLICE}; systemctl start {SLICE} envoy"
ALL_GROUPS = "ls -d /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs 2> /dev/null"
# Of cgroup v1, or of v2.
PIDS_MAX = "$(find /sys/fs/cgroup -path '*hostguard-egress.slice/pids.max' | head -1)"


def of_the_service(name: str, control: str, setting: str, path: str, then: str = RELOAD) -> Break:
    return Break(name, *file(path, "[Service]", setting, then=then), control)


NO_FILES, ELSEWHERE = "LimitNOFILE=512", "Slice=system.slice"
UNREAD = f"mkdir -p {D}; printf '[Service]\\n{{}}\\n' > {D}/zzz.conf"
READ = f"rm {D}/zzz.conf; {RELOAD}"

BREAKS = (
    Break("overridden: an account's own limit",
          *file(f"{LIMITS_D}/10-envoy.conf", "envoy - NOFILE 256 too many words"), "limits.pam"),
    Break("overridden: a later file", *file(f"{LIMITS_D}/zzz.conf", "root hard nofile 100"), "limits.pam"),
    Break("overridden: an account without limits", *file(f"{LIMITS_D}/10-envoy.conf", "envoy -"), "limits.pam"),
    Break("shadowed: other files of limits for SSH",
          "sed -i.away 's,pam_limits.so,& conf=/etc/mine,' /etc/pam.d/sshd", "mv /etc/pam.d/sshd.away /etc/pam.d/sshd",
          "limits.pam"),
    Break("deleted: pam_limits from SSH's sessions", "sed -i.away '/pam_limits.so/d' /etc/pam.d/sshd",
          "mv /etc/pam.d/sshd.away /etc/pam.d/sshd", "limits.pam"),
    Break("deleted: the file of limits", *away(f"{LIMITS_D}/zz-hostguard.conf"), "limits.pam"),
    Break("overridden: a later default",
          *file("/run/systemd/system.conf.d/zzz.conf", "[Manager]", "DefaultLimitNOFILE=512",
                then="systemctl daemon-reexec"), "limits.systemd-default"),
    Break("disk only: a later default that systemd has not read",
          *file(f"{MANAGER}/zzz.conf", "[Manager]", "DefaultLimitNOFILE=512"), "limits.systemd-default"),
    Break("deleted: the default", *away(f"{MANAGER}/zz-hostguard.conf"), "limits.systemd-default"),
    of_the_service("overridden: a later limit of the service", "limits.units", NO_FILES, f"{D}/zzz.conf"),
    of_the_service("overridden: a limit of all services", "limits.units", NO_FILES, f"{UNIT}/service.d/zzz.conf"),
    of_the_service("overridden: a limit until the next boot", "limits.units", NO_FILES,
                   "/run/systemd/system/envoy.service.d/zzz.conf"),
    Break("disk only: a later limit that systemd has not read", UNREAD.format(NO_FILES), READ, "limits.units"),
    Break("deleted: the service's limit", *away(f"{D}/zz-hostguard-limits.conf", RELOAD), "limits.units"),
    Break("disk only: the service's limit is gone", f"mv {D}/zz-hostguard-limits.conf /root",
          f"mv /root/zz-hostguard-limits.conf {D}; {RELOAD}", "limits.units"),
    Break("run time: a running process's limit",
          "runuser -u envoy -- prlimit --nofile=100: --pid $(pgrep -u envoy -o)", RESTART, "limits.running"),
    Break("overridden: started under another limit, which is gone again",
          f"{UNREAD.format(NO_FILES)}; {RELOAD}; {RESTART}; {READ}", RESTART, "limits.running"),
    Break("run time: a property of the slice", f"systemctl set-property --runtime {SLICE} TasksMax=9",
          f"rm -r /run/systemd/system.control/{SLICE}.d; {ANEW}", "slices.limits"),
    Break("changed: a property of the slice, for good", f"systemctl set-property {SLICE} CPUQuota=10%",
          f"rm -r {UNIT}.control/{SLICE}.d; {ANEW}", "slices.limits"),
    Break("run time: the kernel's own file", f"echo 99 > {PIDS_MAX}", f"echo 512 > {PIDS_MAX}", "slices.limits"),
    Break("disk only: a limit of its family of slices that systemd has not read",
          f"mkdir {UNIT}/hostguard-.slice.d; printf '[Slice]\\nTasksMax=9\\n' > {UNIT}/hostguard-.slice.d/z.conf",
          f"rm -r {UNIT}/hostguard-.slice.d; {ANEW}", "slices.limits"),
    Break("overridden: a limit of all slices", *file(f"{UNIT}/slice.d/z.conf", "[Slice]", "CPUQuota=900%", then=ANEW),
          "slices.limits"),
    Break("disk only: a slice that nobody starts", f"systemctl disable {SLICE}", f"systemctl enable {SLICE}",
          "slices.limits"),
    of_the_service("overridden: another slice in a later drop-in", "slices.members", ELSEWHERE, f"{D}/zzz.conf"),
    of_the_service("overridden: another slice for all services", "slices.members", ELSEWHERE,
                   f"{UNIT}/service.d/zzz.conf"),
    Break("disk only: another slice that systemd has not read", UNREAD.format(ELSEWHERE), READ, "slices.members"),
    Break("deleted: the service's slice", *away(f"{D}/zz-hostguard-slice.conf", RELOAD), "slices.members"),
    Break("run time: moved out of the limit on memory",
          "echo $(pgrep -u envoy -o) > /sys/fs/cgroup/memory/cgroup.procs", RESTART, "slices.running"),
    Break("run time: moved out of all of its groups",
          f"for each in $({ALL_GROUPS}); do echo $(pgrep -u envoy -o) > $each; done", RESTART, "slices.running"),
    Break("overridden: started in another slice, which is gone again",
          f"{UNREAD.format(ELSEWHERE)}; {RELOAD}; {RESTART}; {READ}", RESTART, "slices.running"),
)  # fmt: skip
