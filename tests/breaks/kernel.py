"""Breaks of kernel parameters."""

from __future__ import annotations

from tests.breaks.model import Break, file, over

OUR_FILE = "/etc/sysctl.d/zz-hostguard.conf"


def live(control: str, key: str, wrong: str, right: str) -> Break:
    return Break(f"run time: {key} is {wrong}", f"sysctl -qw {key}='{wrong}'", f"sysctl -qw {key}='{right}'", control)


def later(control: str, key: str, wrong: str, path: str = "/etc/sysctl.d/zzz.conf") -> Break:
    return Break(f"overridden: {key} is {wrong} in {path}", *file(path, f"{key} = {wrong}"), control)


def unset(control: str, key: str) -> Break:
    return Break(f"disk only: no {key} in our file", f"sed -i.away '/^{key} /d' {OUR_FILE}",
                 f"mv {OUR_FILE}.away {OUR_FILE}", control)  # fmt: skip


TCP = "net.ipv4.tcp_"
RANGE = "net.ipv4.ip_local_port_range"
RUN, USR = "/run/sysctl.d/zzz.conf", "/usr/lib/sysctl.d/zzz.conf"

BREAKS = (
    live("kernel.somaxconn", "net.core.somaxconn", "128", "65535"),
    later("kernel.somaxconn", "net.core.somaxconn", "128"),
    unset("kernel.somaxconn", "net.core.somaxconn"),
    live("kernel.syn-backlog", f"{TCP}max_syn_backlog", "256", "65535"),
    later("kernel.syn-backlog", f"{TCP}max_syn_backlog", "256", RUN),
    live("kernel.syncookies", f"{TCP}syncookies", "2", "1"),
    later("kernel.syncookies", f"{TCP}syncookies", "0", USR),
    live("kernel.tw-reuse", f"{TCP}tw_reuse", "2", "1"),
    live("kernel.tw-reuse", f"{TCP}timestamps", "0", "1"),
    unset("kernel.tw-reuse", f"{TCP}timestamps"),
    live("kernel.port-range", RANGE, "32768 60999", "10240 65535"),
    later("kernel.port-range", RANGE.replace(".", "/"), "32768 60999"),
    live("kernel.keepalive", f"{TCP}keepalive_time", "7200", "60"),
    live("kernel.keepalive", f"{TCP}keepalive_probes", "9", "6"),
    later("kernel.keepalive", f"{TCP}keepalive_intvl", "75"),
    live("kernel.fin-timeout", f"{TCP}fin_timeout", "61", "30"),
    later("kernel.fin-timeout", f"{TCP}fin_timeout", "61"),
    Break("disk only: no line of ours, and a pattern",
          f"sed -i.away '/fin_timeout/d' {OUR_FILE}; echo '{TCP}fin_*=61' > /etc/sysctl.d/a.conf",
          f"mv {OUR_FILE}.away {OUR_FILE}; rm /etc/sysctl.d/a.conf", "kernel.fin-timeout"),
    # The machine's own parameters, in a container: what it sees of them, and what its boot would set.
    Break("shadowed: fs.nr_open is 1024", *over("/proc/sys/fs/nr_open", "echo 1024"), "kernel.nr-open"),
    later("kernel.nr-open", "fs.nr_open", "1024"),
    Break("shadowed: fs.file-max is 1024", *over("/proc/sys/fs/file-max", "echo 1024"), "kernel.file-max"),
    later("kernel.file-max", "fs.file-m*", "1024"),
    Break("run time: a listener within the range",
          "nc -l -p 20000 > /dev/null 2>&1 & echo $! > /run/break; "
          "until grep -q ':4E20 [^ ]* 0A' /proc/net/tcp; do :; done",
          "kill $(cat /run/break)", "kernel.listening-ports"),
    Break("changed: a socket of systemd's within the range, on IPv6 alone",
          "systemd-run --quiet --unit=listen --socket-property=ListenStream=[::1]:30000 true",
          "systemctl stop listen.socket", "kernel.listening-ports"),
)  # fmt: skip

IDLE = f"{TCP}slow_start_after_idle"
RESERVED = "net.ipv4.ip_local_reserved_ports"
OF_A_WIDER_POLICY = (
    live("kernel.custom", IDLE, "1", "0"),
    later("kernel.custom", IDLE, "1"),
    unset("kernel.custom", IDLE),
    live("kernel.reserved-ports", RESERVED, "", "15001"),
    later("kernel.reserved-ports", RESERVED, "15002"),
    unset("kernel.reserved-ports", RESERVED),
)
