"""Whether this process is where the host's services are, and what it writes where a boot finds it."""

from __future__ import annotations

import os

from . import mountinfo, store
from .resource import HostError
from .systemctl import systemd_runs
from .unit_files import OURS

APART = (
    ("ns/net", "network namespace", "`ip netns exec`, PrivateNetwork= of a unit"),
    ("ns/mnt", "mount namespace", "PrivateTmp=, ProtectSystem= and the like of a unit, `unshare`, a container"),
)


def shared_with_services() -> None:
    """Raises HostError in another namespace than the host's services: rules that are written there meet no service,
    nobody sees the mounts, and the watcher, which systemd starts among its services, would take nothing back.

    Without systemd there is no other place than this one. An ordinary user is told of each thing that root alone may.
    """
    if os.geteuid() != 0 or not systemd_runs():
        return
    for name, what, how in APART:
        if not _same(name, what):
            raise HostError(
                "this process has a {} of its own ({}), and what it does there is not done to the host: run hostguard "
                "outside of it, or by `nsenter --target 1 --mount --net`".format(what, how)
            )
    if not os.path.samefile("/proc/1/root", "/"):
        raise HostError("this process has another root than the host's services (chroot): run hostguard without it")


def _same(name: str, what: str) -> bool:
    try:
        return os.readlink("/proc/1/" + name) == os.readlink("/proc/self/" + name)
    except PermissionError:
        raise HostError(
            "nobody can tell whether this process has a {} of its own: /proc/1/{} can't be read".format(what, name)
        ) from None


FORGETS = store.FOLDER + (
    " is on a {}: a boot would keep what nobody has confirmed, and not know how to go back: put it on a disk"
)


def forgotten() -> str:
    """The file system on which a boot would not find hostguard's records; "" where it would, or where it would not find
    the units either, as of an image that is all in memory."""
    kept, units = mountinfo.type_of(store.FOLDER), mountinfo.type_of(OURS)
    return kept if kept in mountinfo.IN_MEMORY and units not in mountinfo.IN_MEMORY else ""
