"""Kernel parameters that cut a host off later than a confirm window sees: while the one connection that confirms still
finds its way, with what the kernel remembers or has left.

Each with what would do, why, and where the kernel says so (Documentation/, or a manual page). What cuts a host off at
once is not here: nobody confirms it, and it goes back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

IP, VM, KERNEL, FS = (
    "networking/ip-sysctl.rst",
    "admin-guide/sysctl/vm.rst",
    "admin-guide/sysctl/kernel.rst",
    "admin-guide/sysctl/fs.rst",
)


class Late(NamedTuple):
    """`least` to `most` is what would do, of the last of a key's numbers."""

    key: str
    least: int
    most: int | None
    why: str
    source: str
    unlimited: str = ""


DEVICE = r"[A-Za-z0-9_/-]+"
LATE = (
    Late(rf"net\.ipv4\.conf\.{DEVICE}\.arp_ignore", 0, 3,
         "with 8 this host answers no question for its address, and 4 to 7 are reserved: it is cut off as soon as its "
         "neighbours have forgotten it", IP),
    Late(rf"net\.ipv[46]\.neigh\.{DEVICE}\.mcast_solicit", 1, None,
         "with 0 this host asks nobody where a neighbour is: it is cut off as soon as it has forgotten its router",
         "arp(7)"),
    Late(r"net\.ipv[46]\.neigh\.default\.gc_thresh3", 128, None,
         "the most neighbours that are remembered: past it a new one is not found, the router too", IP),
    Late(r"net\.ipv6\.route\.max_size", 4096, None,
         "the most routes, and before Linux 6.3 a peer over IPv6 might need one of its own: past it no new one is "
         "reached", IP),
    Late(r"net\.ipv4\.ip_default_ttl", 32, 255,
         "how far a packet goes: the host that confirms may be nearer than all others", IP),
    Late(rf"net\.ipv6\.conf\.{DEVICE}\.hop_limit", 32, 255,
         "how far a packet goes: the host that confirms may be nearer than all others", IP),
    Late(r"net\.ipv4\.tcp_mem", 4096, None,
         "its third number is the most pages for all of TCP: a few connections fill less than 16 MiB", IP),
    Late(r"net\.netfilter\.nf_conntrack_max", 1024, None,
         "the most connections that are tracked: past it new ones are dropped, those that come in too",
         "networking/nf_conntrack-sysctl.rst", unlimited="0"),
    Late(r"kernel\.pid_max", 4096, None,
         "where the numbers of processes end: past it nobody logs in, and nothing goes back", KERNEL),
    Late(r"kernel\.threads-max", 1024, None,
         "the most threads of all processes: past it nobody logs in, and nothing goes back", KERNEL),
    Late(r"kernel\.pty\.max", 256, None, "the most terminals: past it nobody gets one", "filesystems/devpts.rst"),
    Late(r"fs\.file-max", 8192, None,
         "the most open files of all processes: past it a login that is not root's yet fails", FS),
    Late(r"vm\.max_map_count", 1024, None,
         "the most mappings of a process: with less programs fail as they grow, what goes back too", VM),
)  # fmt: skip
STRICT, RATIO, KBYTES = "vm.overcommit_memory", "vm.overcommit_ratio", "vm.overcommit_kbytes"
LEAST_RATIO, LEAST_KBYTES = 10, 512 * 1024


def refused(kernel: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Each key whose value would cut the host off late, and what is expected of it."""
    for key, setting in kernel.items():
        number = setting.split()[-1]
        for late in LATE:
            if re.fullmatch(late.key, key) and not _fits(late, number):
                bounds = f"at least {late.least}" if late.most is None else f"{late.least} to {late.most}"
                yield key, f"{bounds}: {late.why} ({late.source})"
    if kernel.get(STRICT) == "2":
        for key, least, what in ((RATIO, LEAST_RATIO, "percent of the memory"), (KBYTES, LEAST_KBYTES, "KiB")):
            number = kernel.get(key, "")
            if number.isdigit() and int(number) < least and not (key == RATIO and KBYTES in kernel):
                why = f"with {STRICT} = 2 no more is promised to all processes: past it none starts, what goes back too"
                yield key, f"at least {least} ({what}): {why} ({VM})"


def _fits(late: Late, number: str) -> bool:
    # What is no number is the kernel's to refuse, at once.
    if number == late.unlimited or not re.fullmatch("-?[0-9]+", number):
        return True
    return late.least <= int(number) <= (late.most or int(number))


ADVERTISED = re.compile(rf"net\.ipv6\.conf\.(?!lo\.){DEVICE}\.(?:accept_ra|accept_ra_defrtr|accept_ra_pinfo|autoconf)")


def doubtful(kernel: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Keys that do the same on some hosts, with what is found and what to make sure of."""
    for key, setting in kernel.items():
        if ADVERTISED.fullmatch(key) and setting == "0":
            yield (
                key,
                "0",
                (
                    "addresses and routes that are set by hand, if IPv6 is what leads here: those from router "
                    f"advertisements expire hours after nobody listens to them any more ({IP})"
                ),
            )
    if kernel.get("kernel.modules_disabled") == "1":
        yield (
            "kernel.modules_disabled",
            "1",
            (
                "a kernel that has its drivers built in: a boot sets it, maybe before those of the network are loaded, "
                f"and nothing takes it back ({KERNEL})"
            ),
        )
