"""Runs in a host, fed to `python3 -`: prints the host's state as JSON, section by section.

A rollback, or a reboot, must bring all of it back. What changes by itself is left out, and each omission
says why. Standard library only.
"""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import re
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

FILE_ROOTS = ("/etc", "/root", "/run/systemd/system", "/run/systemd/system.control", "/usr/lib/systemd", "/usr/local",
              "/var/lib", "/var/spool")  # fmt: skip
VOLATILE_FILES = (
    "/var/lib/hostguard",  # hostguard's own memory of what it did
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/timers",
    "/var/lib/private/systemd",
)
VOLATILE_RUN = {"xtables.lock"}  # iptables leaves its lock behind
VOLATILE_SYSCTLS = re.compile(
    r"""
      .*conntrack_count$     # flows come and go
    | .*\.stable_secret$ | .*\.tcp_fastopen_key$     # random
    | .*nf_conntrack_(max|buckets|expect_max)$   # the machine's, not the host's
    | net\.ipv4\.(tcp|udp)_mem$ | .*\.retrans_time$
    | net\.ipv4\.inet_peer_threshold$   # of the memory that was free at boot
    """,
    re.VERBOSE,
)
MACHINE_SYSCTLS = ("fs.nr_open", "fs.file-max")
OURS = re.compile(r"hostguard|envoy\.service|run-secrets\.mount")  # units of the lab's policies, and of hostguard
OUR_RUN = re.compile(r"hostguard|secrets$")
OUR_FILES = ("*hostguard*", "envoy.service", "run-secrets.mount")
UNIT_PROPERTIES = "Id,UnitFileState,LoadState,FragmentPath,DropInPaths,LimitNOFILE,Slice,ActiveState"
UNIT_TYPES = ("service", "mount", "slice", "socket", "swap", "path", "timer", "target")


def said(*argv: str) -> str:
    """What a program prints; nothing when it is missing or fails."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except FileNotFoundError:
        return ""


def lines(text: str) -> str:
    return "\n".join(sorted(line for line in text.splitlines() if line.strip()))


def read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError as error:
        return f"<{error.strerror}>"


def rules(command: str) -> str:
    """A saved ruleset without its counters and without the lines that carry the date."""
    text = re.sub(r"\[\d+:\d+\]", "[0:0]", said(command))
    return "\n".join(line for line in text.splitlines() if line and not line.startswith("#"))


def legacy_rules(command: str) -> str:
    """The kernel keeps a legacy table once it was looked at: an empty one is the same as none."""
    tables = re.split(r"^(?=\*)", rules(command), flags=re.MULTILINE)
    busy = [table for table in tables if re.search(r"^-|^:(?!\w+ ACCEPT )", table, re.MULTILINE)]
    return "".join(busy)


def legacy_tables() -> str:
    """The legacy tables that this kernel ever made for the host. Looking at one makes it, for good."""
    found = [f"{family} {name}" for family in ("ip", "ip6") for name in legacy_names(family)]
    return "\n".join(sorted(found))


def legacy_names(family: str) -> list[str]:
    try:
        return Path(f"/proc/net/{family}_tables_names").read_text().split()
    except OSError:
        return []


def nft() -> str:
    """Tables and their chains in the order of their names: what went and came back stands last."""
    text = re.sub(r"counter packets \d+ bytes \d+", "counter", said("nft", "--stateless", "list", "ruleset"))
    return "".join(sorted(map(in_order, re.split(r"^(?=table )", text, flags=re.MULTILINE))))


def in_order(table: str) -> str:
    head, *parts = re.split(r"^(?=\tchain )", table.rstrip().removesuffix("}"), flags=re.MULTILINE)
    return head + "".join(sorted(part.rstrip() + "\n" for part in parts))


def ipsets() -> str:
    """Hash sets list their members in any order; a set made anew draws another seed."""
    return lines(re.sub(r" (initval 0x[0-9a-f]+|timeout \d+)\b", "", said("ipset", "save")))


def sysctls() -> str:
    found = [f"{name} = {read('/proc/sys/' + name.replace('.', '/'))}" for name in MACHINE_SYSCTLS]
    for folder, _, names in os.walk("/proc/sys/net"):
        for name in names:
            path = f"{folder}/{name}"
            key = path.removeprefix("/proc/sys/").replace(".", "\0").replace("/", ".").replace("\0", "/")
            if not VOLATILE_SYSCTLS.match(key):
                found.append(f"{key} = {' '.join(read(path).split())}")
    return "\n".join(sorted(found))


def mounts() -> str:
    """Every mount: where, of what, with which options. Numbers and the overlay's layers are drawn anew."""
    found = []
    for line in read("/proc/self/mountinfo").splitlines():
        left, right = line.split(" - ")
        _, _, _, root, where, options, *_ = left.split()
        kind, source, special = right.split(" ", 2)
        if kind == "overlay":
            source, special = "overlay", ""
        if kind == "devtmpfs":  # of the memory that was free at boot
            special = re.sub(r"\b(size|nr_inodes)=\w+", r"\1=", special)
        if kind == "autofs":
            special = re.sub(r"\b(fd|pgrp|pipe_ino)=\d+", r"\1=", special)
        found.append(f"{where} {kind} {source} {root} {options} {special}".rstrip())
    return "\n".join(sorted(found))


def files() -> str:
    return "\n".join(entry for root in FILE_ROOTS if Path(root).is_dir() for entry in walk(root))


def walk(folder: str) -> Iterator[str]:
    for entry in sorted(os.scandir(folder), key=lambda found: found.name):
        if entry.path in VOLATILE_FILES:
            continue
        yield described(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)


def described(path: str, *, content: bool = True) -> str:
    """One line about a file. A folder's time is left out: making and removing a file in it moves it."""
    info = os.lstat(path)
    about = f"{path} {owner(info)} {stat.filemode(info.st_mode)}"
    if stat.S_ISLNK(info.st_mode):
        return f"{about} -> {Path(path).readlink()}"
    attributes = "".join(f" {name}" for name in sorted(os.listxattr(path)))
    if content and stat.S_ISREG(info.st_mode):
        return f"{about}{attributes} {info.st_mtime_ns} {digest(path)}"
    return about + attributes


def owner(info: os.stat_result) -> str:
    try:
        return f"{pwd.getpwuid(info.st_uid).pw_name}:{grp.getgrgid(info.st_gid).gr_name}"
    except KeyError:
        return f"{info.st_uid}:{info.st_gid}"


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]


def units() -> str:
    """The units that are active, enabled or ours. Which others are enabled is in the links of `FILE_ROOTS`: systemd
    needs ten times as long to list every unit file. Of the rest it starts and ends services, and the slices that they
    are in, as it needs them."""
    plain = ("--no-legend", "--plain", f"--type={','.join(UNIT_TYPES)}")
    files = [line.split() for line in said("systemctl", "list-unit-files", *plain, "--", *OUR_FILES).splitlines()]
    active = [line.split()[0] for line in said("systemctl", "list-units", "--state=active,failed", *plain).splitlines()]
    # To show a unit that nobody has asked for is to load it: all of them take an emulated machine seven seconds.
    names = {name for name in active if OURS.search(name) or not name.endswith((".service", ".slice"))}
    names |= {name for name, *_ in files} | {link.name for link in Path("/etc/systemd/system").glob("*.*/*.*")}
    concrete = sorted(name for name in names if "@." not in name)
    shown = said("systemctl", "show", f"--property={UNIT_PROPERTIES}", "--", *concrete)
    described = {unit(block) for block in shown.strip().split("\n\n")}
    return "\n".join(sorted(described | {" ".join(words) for words in files}))


def unit(block: str) -> str:
    properties = dict(line.split("=", 1) for line in block.splitlines())
    about = " ".join(f"{key}={value}" for key, value in sorted(properties.items()) if key != "Id" and value)
    return f"{properties.get('Id', '?')} {about}"


def cgroups() -> str:
    """Where processes of ours run, and those of what hostguard moves, by controller. systemd makes the folders as it
    needs them, and removes one some time after its last process has ended."""
    folders = [folder for folder, _, _ in os.walk("/sys/fs/cgroup") if OURS.search(folder)]
    return "\n".join(sorted(folder for folder in folders if read(f"{folder}/cgroup.procs")[:1].isdigit()))


def run_entries() -> str:
    """What lies in /run: who may read it, not what it says (numbers of processes, times of the boot)."""
    names = {entry.name for entry in Path("/run").iterdir()} - VOLATILE_RUN
    paths = [Path("/run", name) for name in names]
    paths += [below for path in paths if OUR_RUN.match(path.name) for below in path.rglob("*")]
    return "\n".join(described(str(path), content=False) for path in sorted(paths))


def network() -> str:
    commands = (
        "ip -brief address",
        "ip route show table all",
        "ip -6 route show table all",
        "ip rule",
        "ip -6 rule",
    )
    # A boot draws the number of a link's other end anew, and columns are as wide as that.
    return lines(
        re.sub(r"@if\d+| +(?= |$)", "", "\n".join(said(*command.split()) for command in commands), flags=re.MULTILINE)
    )


def listening() -> str:
    """Where the gateway takes requests, and the resolver lookups: a process that is active may still listen nowhere.

    Without the sockets of the resolver's own questions: each waits for an answer on a port by chance."""
    said_of = said("ss", "-Hlntuxp").splitlines()
    found = [line.split() for line in said_of if not re.match(r'udp\b.*:(?!53\b)\d+ .*"dnsmasq"', line)]
    tcp_and_udp = {f"{kind} {local}" for kind, _, _, _, local, *_ in found if kind in ("tcp", "udp")}
    sockets = {path for kind, _, _, _, path, *_ in found if kind.startswith("u_") and path.startswith("/run/hostguard")}
    return "\n".join(sorted(tcp_and_udp | sockets))


def settle() -> None:
    """The watcher of a window that is closed sees so within a second, and ends. One that does not is a difference."""
    for _ in range(100):
        if Path("/var/lib/hostguard/pending.json").exists():
            return
        if not said("systemctl", "list-units", "--all", "--no-legend", "hostguard-confirm-*").strip():
            return
        time.sleep(0.1)


def main() -> None:
    settle()
    sections = {
        "iptables": rules("iptables-nft-save"),
        "ip6tables": rules("ip6tables-nft-save"),
        "iptables-legacy": legacy_rules("iptables-legacy-save"),
        "ip6tables-legacy": legacy_rules("ip6tables-legacy-save"),
        "nft": nft(),
        "ipset": ipsets(),
        "sysctl": sysctls(),
        "mounts": mounts(),
        "files": files(),
        "units": units(),
        "cgroups": cgroups(),
        "run": run_entries(),
        "network": network(),
        "listening": listening(),
        # Last: what was asked for above must not be what shows up here.
        "legacy tables": legacy_tables(),
    }
    print(json.dumps(sections))


main()
