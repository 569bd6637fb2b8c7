"""How a resource of each kind is read, reached and undone: in words, once a kind.

They stand here and not beside the kinds, since those travel to the host at every call.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hostguard.host.kinds import KINDS


@dataclass(frozen=True)
class HowTo:
    """`undo` is what `hostguard rollback` does; `by_hand` the same for one control, without hostguard."""

    read: str
    reach: str
    undo: str
    by_hand: str


HOW_TO: Mapping[str, HowTo] = {
    "file": HowTo(
        read="content, mode and owner; a symbolic link in its place counts as a difference",
        reach="written beside, flushed to the disk and renamed over, owned by root: a reader sees the old file or the "
        "new one",
        undo="content, mode, owner and time stamps go back; a file that was not there is removed again",
        by_hand="remove the file; after a unit's, `systemctl daemon-reload`",
    ),
    "lookup": HowTo(
        read="as a file's; a symbolic link in its place (systemd-resolved's, resolvconf's) counts as a difference",
        reach="written once the host's own resolver runs, and the names of the policy are asked for then: their "
        "addresses are there when the rules come",
        undo="goes back, the link too, before the resolver stops",
        by_hand="write a `nameserver` into /etc/resolv.conf; the rules must let it be asked",
    ),
    "pam_limit": HowTo(
        read="the last line of /etc/security/limits.conf and limits.d/*.conf that sets it, as pam_limits takes it, and "
        "every line of an account or group that undercuts it; that sshd's session has pam_limits, and no service's "
        "pam_limits other files",
        reach="by the file beside it; a session that is open keeps what it has until the next login",
        undo="goes back with its file",
        by_hand="remove the file's line, and log in again",
    ),
    "sysctl": HowTo(
        read="the live value in /proc/sys, and the one that wins at the next boot among all files of sysctl.d(5), with "
        "its file and line",
        reach="written to /proc/sys and read back, with a line in /etc/sysctl.d/zz-hostguard.conf for the next boot; "
        "where a minimum is wanted, a greater value stays; nf_conntrack is loaded first where it brings the parameter",
        undo="the live value and the line go back; what Linux sets once and for all (kernel.modules_disabled, say), "
        "and what came with a module that was loaded for it, goes back at the next boot",
        by_hand="remove the line from /etc/sysctl.d/zz-hostguard.conf, and `sysctl -w KEY=VALUE` the old value",
    ),
    "mount": HowTo(
        read="/proc/self/mountinfo for type, options, size and what is mounted below; stat(2) for mode and owner",
        reach="mounted, or remounted with the wanted options; refused over files, since a mount hides them and leaves "
        "them on the disk",
        undo="unmounted, or remounted as it was: what is in it is gone; lazily where a service holds a file open",
        by_hand="stop what uses it, then `umount PATH`",
    ),
    "unit": HowTo(
        read="`systemctl show`: what systemd makes of the unit after all drop-ins; what it would make of its files "
        "now: the last line of them that sets it; of a unit of hostguard's every file that changes it, and its links",
        reach="`systemctl daemon-reload`, then enabled and started where that is wanted; systemd's own defaults by "
        "`systemctl daemon-reexec`; no service is restarted",
        undo="disabled, and stopped if no service hangs on it, unless it was on before; systemd reads the files again",
        by_hand="`systemctl disable UNIT` for a unit of hostguard's (stopping a slice stops what is in it); a drop-in "
        "goes with its file",
    ),
    "xds": HowTo(
        read="Envoy's admin: the version of clusters and listeners that it took without a word against it, which of "
        "them are in force, and what it says against the others; and the files that it was told to read",
        reach="files renamed into the folder that it watches: the clusters, those of before among them, then the "
        "listeners, then the clusters alone; each is waited for, and what it refuses makes the apply go back",
        undo="the old files, in the same order; the socket of a listener that is gone is removed",
        by_hand="rename other files into the folder, the listeners last where clusters are new, first where they go",
    ),
    "slice": HowTo(
        read="the slice's own cgroup files: memory.max, memory.high, cpu.max and pids.max, or those of cgroup v1",
        reach="systemd writes them from the unit; what was changed behind its back is written again",
        undo="the limits that stood there are written back, and the slice is stopped once nothing runs in it",
        by_hand="move its services out and restart them, then `systemctl stop SLICE`",
    ),
    "process": HowTo(
        read="/proc/PID/limits or /proc/PID/cgroup of every process of the service, its main one wherever it is; the "
        "worst one counts",
        reach="by a restart of the service, and so only with `hostguard apply --restart`, or when you restart it",
        undo="a running service stays as it is: it follows the files at its next start, or with `rollback --restart`",
        by_hand="`systemctl restart UNIT` after its files went back",
    ),
    "ipset": HowTo(
        read="`ipset save`: the kernel's own entries against the policy's, one by one; of a set that the resolver "
        "fills, those that no answer can have put there",
        reach="filled under another name and swapped in: no packet meets half a set; what the resolver put there stays",
        undo="refilled with what it held before, or destroyed once no rule uses it",
        by_hand="`ipset add SET ENTRY` or `ipset del SET ENTRY`, until the next apply",
    ),
    "ruleset": HowTo(
        read="`iptables-save` and `ip6tables-save` of the backend in force against our rules as this host's iptables "
        "writes them itself; the chain's policy, and where the jump to it stands; as nft alone shows it, "
        "whether the table is dormant, and other chains that change where a packet goes; whether rules of ours stand "
        "in the other backend too",
        reach="one `iptables-restore --noflush` a family: a single transaction in the kernel, and other tools' rules "
        "stay; then ours go from the other backend",
        undo="our chains, jumps and policy go back; other tools' rules stay as they are now",
        by_hand="`iptables -P OUTPUT ACCEPT` first, then `iptables -t TABLE -D HOOK -j CHAIN`; the same with "
        "`ip6tables`",
    ),
    "frames": HowTo(
        read="`nft list table netdev hostguard` against our rules as this host's nft writes them itself, one chain for "
        "each device that `ip address` shows: hardware, or in a container its own end of what leads out",
        reach="one `nft -f`: a single transaction in the kernel; at boot, and by udev for each device that comes "
        "later, by the same rules from a file; refused where it would cut off a DHCP client or bridged guests",
        undo="the table goes back to what it was, or is deleted",
        by_hand="`nft delete table netdev hostguard`",
    ),
}
if HOW_TO.keys() != KINDS.keys():
    raise ImportError(f"the words of kinds and the kinds differ in {sorted(HOW_TO.keys() ^ KINDS.keys())}")
