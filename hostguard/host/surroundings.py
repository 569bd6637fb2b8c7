"""Whether this process is where the host's services are: who writes elsewhere changes nothing of the host."""

from __future__ import annotations

import os

from .resource import HostError
from .systemctl import systemd_runs

APART = (
    ("ns/net", "network namespace", "`ip netns exec`, PrivateNetwork= of a unit"),
    ("ns/mnt", "mount namespace", "PrivateTmp=, ProtectSystem= and the like of a unit, `unshare`, a container"),
)


def shared_with_services() -> None:
    """Raises HostError where what is written would be another's than the host's: rules that no service meets, mounts
    that nobody sees. systemd would start the watcher, who takes them back, among its services.

    Without systemd there is no other place than this one.
    """
    if not systemd_runs():
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
        if os.geteuid() != 0:
            return True  # what an ordinary user may not do is told of each thing
        raise HostError(
            "nobody can tell whether this process has a {} of its own: /proc/1/{} can't be read".format(what, name)
        ) from None
