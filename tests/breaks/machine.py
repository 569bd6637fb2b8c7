"""Breaks that take a kernel of one's own."""

from __future__ import annotations

from tests.breaks.model import UNIT, Break, away
from tests.breaks.secrets import AGAIN, ANEW

# struct timex: modes, offset, freq, maxerror, esterror, status (linux/timex.h); ADJ_MAXERROR 4, ADJ_STATUS 0x10.
CLOCK = (
    "python3 -c 'import ctypes, struct; "
    'ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(struct.pack("@llllli", {}, 0, 0, {}, 0, {}), 512))\''
)
TRACKED = "kernel.tracked-connections"
TRACKED_MAX = "net.netfilter.nf_conntrack_max"
KEPT = CLOCK.format(0x14, 1000, 0)
FEIGNED = "/run/fips"
FIPS = f"echo 1 > {FEIGNED}; mount --bind {FEIGNED} /proc/sys/crypto/fips_enabled"
"""What makes a machine pass that nobody keeps the clock of, and whose modules are not validated."""

BREAKS = (
    Break("run time: the clock's daemon gives up", CLOCK.format(0x10, 0, 0x40), KEPT, "platform.clock-sync"),
    Break("changed: the clock's error grows past what the kernel trusts",
          f"{CLOCK.format(0x14, 16_000_000, 0)}; until python3 -c 'import ctypes; "
          "exit(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) != 5)'; do :; done",
          KEPT, "platform.clock-sync"),
    Break("changed: FIPS mode is off", f"echo 0 > {FEIGNED}", f"echo 1 > {FEIGNED}", "platform.fips"),
    Break("deleted: what says FIPS", "umount /proc/sys/crypto/fips_enabled", FIPS, "platform.fips"),
    Break("run time: a CPU is switched off", "echo 0 > /sys/devices/system/cpu/cpu1/online",
          "echo 1 > /sys/devices/system/cpu/cpu1/online", "platform.cpus"),
    Break("run time: fs.nr_open is 1024", "sysctl -qw fs.nr_open=1024", "sysctl -qw fs.nr_open=1048576",
          "kernel.nr-open"),
    Break("run time: fs.file-max is 1024", "sysctl -qw fs.file-max=8192", "sysctl -qw fs.file-max=9223372036854775807",
          "kernel.file-max"),
    Break(f"run time: {TRACKED_MAX} is 65536", f"sysctl -qw {TRACKED_MAX}=65536", f"sysctl -qw {TRACKED_MAX}=483200",
          TRACKED),
    Break("deleted: what loads the module before its parameters are set", *away("/etc/modules-load.d/hostguard.conf"),
          TRACKED),
    Break("shadowed: a boot that loads no modules", f"ln -s /dev/null {UNIT}/systemd-modules-load.service",
          f"rm {UNIT}/systemd-modules-load.service", TRACKED),
    Break("run time: without noswap, and swap is switched on",
          f"{ANEW}; dd if=/dev/zero of=/swapfile bs=1M count=8 status=none; chmod 600 /swapfile; mkswap -q /swapfile; "
          "swapon /swapfile", f"swapoff /swapfile; rm /swapfile; {AGAIN}", "secrets.swap"),
)  # fmt: skip
WITHOUT_AES = Break("changed: a CPU without the AES instructions", "", "", "platform.aes")
"""Another CPU at the next start: no script makes that."""
