"""The kernel's parameters themselves: what /proc/sys holds, takes and changes by itself."""

from __future__ import annotations

import glob
import os
import socket
from typing import List, Mapping, Optional, Tuple

from .facts import in_container
from .program import find, run
from .resource import HostError

ROOT = "/proc/sys/"
OTHER = str.maketrans("./", "/.")
"""Separators and what they are within a name: net.ipv4.conf.eth0/100.rp_filter is of the device eth0.100."""


def path_of(key: str) -> str:
    return ROOT + key.translate(OTHER)


def normal(setting: str) -> str:
    """Values with several numbers come back from the kernel with tabs between them."""
    return " ".join(setting.split())


# Modules that bring parameters, by what those begin with.
BROUGHT_BY = {
    "net.netfilter.nf_conntrack_": "nf_conntrack",
    "net.bridge.bridge-nf-": "br_netfilter",
    "net.ipv4.vs.": "ip_vs",
    "net.sctp.": "sctp",
    "sunrpc.": "sunrpc",
    "fs.nfs.nlm_": "lockd",
}
# Of those that network namespaces have, the ones that the first namespace alone may write: all have one table
# (nf_conntrack_standalone.c).
OF_THE_MACHINE = {"net.netfilter.nf_conntrack_" + name for name in ("max", "buckets", "expect_max")}
MODULES = "/sys/module"


def module_of(key: str) -> str:
    """The module that brings a parameter; "" where that is the kernel itself, or nobody knows."""
    return next((module for begins, module in BROUGHT_BY.items() if key.startswith(begins)), "")


def of_another(key: str) -> bool:
    """Whether, in a container, a parameter is the machine's."""
    if not in_container():
        return False
    if key not in OF_THE_MACHINE:
        return not key.startswith("net.")
    try:
        return not os.stat(path_of(key)).st_mode & 0o200
    except FileNotFoundError:
        return True


def lacks(key: str, loads: bool) -> str:
    """Why a parameter is not there; "" where an apply `loads` the module that brings it."""
    module = module_of(key)
    if not module:
        return "this kernel has no {}, or the module that brings it is not loaded".format(key)
    if os.path.isdir(os.path.join(MODULES, module)):
        return "this kernel has no {}, and the module {} is loaded".format(key, module)
    if not loads:
        said = "{} comes with the module {}, which is not loaded: name it in a file of /etc/modules-load.d, and load it"
        return said.format(key, module)
    if in_container():
        return "the module {} is the machine's to load, not this container's: load it there".format(module)
    if find("modprobe") is None:
        return "the module {} is not loaded, and modprobe is not installed".format(module)
    if run(["modprobe", "--dry-run", "--quiet", module], check=False).returncode:
        return "the module {} is not loaded, and `modprobe {}` finds none for this kernel".format(module, module)
    return ""


ADDRESSES, PERMANENT, GLOBAL = "/proc/net/if_inet6", 0x80, "00"


def takes_away(key: str) -> List[str]:
    """The addresses that the kernel takes away with IPv6, and does not give back with it: those that somebody set.
    Link-local ones, and what routers advertise, come again by themselves."""
    if not key.endswith(".disable_ipv6"):
        return []
    device = key[len("net.ipv6.conf.") : -len(".disable_ipv6")]
    try:
        with open(ADDRESSES, encoding="utf-8", errors="replace", newline="\n") as file:
            rows = [line.split() for line in file]
    except FileNotFoundError:
        return []
    # Address, index, length, scope, flags, device; all numbers in hexadecimal (net/ipv6/addrconf.c).
    set_by_hand = [row for row in rows if int(row[4], 16) & PERMANENT and row[3] == GLOBAL]
    return sorted("{} ({})".format(_address(row[0]), row[5]) for row in set_by_hand if device in ("all", row[5]))


def _address(digits: str) -> str:
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


def live_value(key: str) -> str:
    """As the kernel says it, whatever bytes it holds: the name of the host may be any."""
    with open(path_of(key), encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read()


def live(key: str) -> Optional[str]:
    """The same without blanks around it; None for a parameter that went with its device or its module: it comes back
    with the kernel's own value."""
    try:
        return live_value(key).strip()
    except FileNotFoundError:
        return None


def brought(key: str) -> str:
    """What a parameter is once its module was loaded. Raises HostError where there is none."""
    try:
        return normal(live_value(key))
    except FileNotFoundError:
        raise HostError("{}: {}".format(path_of(key), lacks(key, loads=True))) from None


def ports(text: str) -> "set[int]":
    """The kernel's port list, `22,8000-8003`, as numbers; empty for anything else."""
    found: "set[int]" = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first.isdecimal() and (last.isdecimal() or not last):
            found.update(range(int(first), int(last or first) + 1))
    return found


def port_list(numbers: "set[int]") -> str:
    """Numbers as the kernel writes them: runs folded, ascending."""
    runs: List[Tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return ",".join(str(a) if a == b else "{}-{}".format(a, b) for a, b in runs)


# Of two that say the same in different units, the kernel makes one 0 when the other is written (mm/page-writeback.c,
# mm/util.c).
UNITS = (
    ("vm.dirty_bytes", "vm.dirty_ratio"),
    ("vm.dirty_background_bytes", "vm.dirty_background_ratio"),
    ("vm.overcommit_kbytes", "vm.overcommit_ratio"),
)
# What a write hands down to the devices (net/ipv4/devinet.c, net/ipv6/addrconf.c).
FORWARDING = ("net/ipv4/conf/*/forwarding", "net/ipv4/conf/all/accept_redirects", "net/ipv4/ip_forward")
HANDED_DOWN = {
    "net.ipv4.ip_forward": FORWARDING,
    "net.ipv4.conf.all.forwarding": FORWARDING,
    **{
        "net.ipv6.conf.all." + name: ("net/ipv6/conf/*/" + name,)
        for name in ("forwarding", "disable_ipv6", "disable_policy", "ignore_routes_with_linkdown", "proxy_ndp",
                     "addr_gen_mode")
    },
}  # fmt: skip


def changed_with(key: str) -> List[str]:
    """The parameters that the kernel changes by itself when this one is written."""
    found = [other for pair in UNITS if key in pair for other in pair if other != key]
    for pattern in HANDED_DOWN.get(key, ()):
        found += [path[len(ROOT) :].translate(OTHER) for path in sorted(glob.glob(ROOT + pattern))]
    return [each for each in found if each != key]


# What Linux sets once and takes back only at a boot: no failure of a way back, which leaves it to that.
ONE_WAY = frozenset(
    {
        "kernel.kexec_load_disabled",
        "kernel.kexec_load_limit_panic",
        "kernel.kexec_load_limit_reboot",
        "kernel.modules_disabled",
        "kernel.unprivileged_bpf_disabled",
        "kernel.yama.ptrace_scope",
    }
)
PASSES = 4


def settle(settings: Mapping[str, Optional[str]]) -> None:
    """Set them all. One may be taken only after another one (the range of ports, say), or change it: so all of them are
    looked at again. Raises HostError, with all that the kernel refuses in the end."""
    for _ in range(PASSES):
        wrong, refused = 0, []
        for key, want in settings.items():
            have = live(key)
            if want is None or have is None or normal(have) == normal(want):
                continue
            wrong += 1
            try:
                set_live(key, want)
            except HostError as error:
                refused += [] if key in ONE_WAY else [str(error)]
        if not wrong:
            return
    if refused:
        raise HostError("; ".join(refused))


def set_live(key: str, setting: str) -> None:
    """Write it. Raises HostError where the kernel refuses. It refuses some values without an error: the look after the
    write finds those."""
    try:
        with open(path_of(key), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(setting + "\n")
    except OSError as error:
        raise HostError("{}: can't set {} to {!r}: {}".format(path_of(key), key, setting, error.strerror)) from None
