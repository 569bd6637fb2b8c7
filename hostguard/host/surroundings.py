"""Whether this process is where the host's services are: who reads or writes elsewhere says nothing of the host."""

from __future__ import annotations

import os

from .resource import HostError
from .systemctl import systemd_runs

NETWORK = ("ns/net", "network namespace", "`ip netns exec`, PrivateNetwork= of a unit")
MOUNTS = ("ns/mnt", "mount namespace", "PrivateTmp=, ProtectSystem= and the like of a unit, `unshare`, a container")


def seen_by_services() -> None:
    """Raises HostError where what is read is another's than the host's: rules and sockets of a network namespace that
    no service is in. A mount namespace of its own, as a unit that audits has it, still shows the host's mounts.

    Without systemd there is no other place than this one.
    """
    if systemd_runs():
        _same(*NETWORK)


def shared_with_services() -> None:
    """Raises HostError where what is written is another's than the host's: such rules, or mounts that nobody sees.
    systemd would start the watcher, who takes them back, among its services."""
    if systemd_runs():
        _same(*NETWORK)
        _same(*MOUNTS)
        if not os.path.samefile("/proc/1/root", "/"):
            raise HostError("this process has another root than the host's services (chroot): run hostguard without it")


def _same(name: str, what: str, how: str) -> None:
    try:
        same = os.readlink("/proc/1/" + name) == os.readlink("/proc/self/" + name)
    except PermissionError:
        if os.geteuid() != 0:
            return  # what an ordinary user can't read is told of each thing
        raise HostError(
            "nobody can tell whether this process has a {} of its own: /proc/1/{} can't be read".format(what, name)
        ) from None
    if not same:
        raise HostError(
            "this process has a {} of its own ({}), and the host is not seen from there: run hostguard outside of it, "
            "or by `nsenter --target 1 --mount --net`".format(what, how)
        )
