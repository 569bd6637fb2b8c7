"""The lab: a world, the hosts that hang on it, and the duty to leave nothing behind.

Every name begins with `hostguard-lab-` and carries its owner. A process owns what it starts and takes it
down at its end; what a killed process left is removed by the next one that starts a lab. What
`python -m tests.lab up` starts belongs to `keep` and stays until `down`, unless OWNER names another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.lab import debian, image
from tests.lab.host import LABEL, PODMAN, Backend, Host
from tests.lab.network import LAST_NUMBER, World, namespaces, remove
from tests.lab.process import LabError, call

PREFIX = "hostguard-lab-"
KEEP = "keep"
OWNER = "HOSTGUARD_LAB_OWNER"
NAME = re.compile(rf"{PREFIX}(?P<owner>\d+\.\d+|{KEEP})-(?P<name>.+)")


class Lab:
    """A world and its hosts. Use it with `with`: everything in it is gone at the end."""

    def __init__(self, owner: str | None = None) -> None:
        self.owner = owner or this_process()
        self.world = World(f"{PREFIX}{self.owner}-world")
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Lab:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Remove what dead owners left, then make the world."""
        image.ensure()  # says what is missing, before anything is made
        sweep()
        with debian.locked("world"):
            self.world.start()

    def host(
        self,
        name: str = "host",
        *,
        backend: Backend = "nft",
        suite: str = "bookworm",
        made_of: str | None = None,
        options: Sequence[str] = (),
    ) -> Host:
        """Start a host that has booted when this returns. `made_of`: another image than the suite's; `options`: more
        of podman's."""
        host = self.prepare(name, suite=suite, made_of=made_of, options=options)
        host.start(backend)
        return host

    def prepare(
        self, name: str, *, suite: str = "bookworm", made_of: str | None = None, options: Sequence[str] = ()
    ) -> Host:
        """A host with its network, whose container is yet to be started."""
        if name == "world":
            raise LabError("the name 'world' is taken")
        with debian.locked("world"):  # for the number, which another process might choose as well
            number = self._free_number()
            host = Host(
                self.world,
                f"{PREFIX}{self.owner}-{name}",
                number,
                hostname=name,
                image=made_of or image.ensure(suite),
                options=options,
            )
            host.attach()
        self.hosts[name] = host
        return host

    def find(self, name: str) -> Host:
        """A host that an earlier process of this owner started."""
        container = f"{PREFIX}{self.owner}-{name}"
        if container not in containers():
            raise LabError(f"there is no host {name!r}; there are: {', '.join(self.names()) or 'none'}")
        number = call(["podman", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', container])
        return Host(self.world, container, int(number.stdout), hostname=name, image="")

    def names(self) -> list[str]:
        """The names of this owner's hosts."""
        found = (NAME.match(container) for container in containers())
        return sorted(match["name"] for match in found if match and match["owner"] == self.owner)

    def stop(self) -> None:
        """Remove every host and the world."""
        clean_up(self.owner)
        self.hosts.clear()

    def remove(self, name: str) -> None:
        """Remove a host, also one of which there is no more than the network."""
        container = f"{PREFIX}{self.owner}-{name}"
        if container in containers():
            self.find(name).remove()
        elif container in namespaces():
            remove(container)

    def _free_number(self) -> int:
        taken = self.world.numbers()
        return next(number for number in range(1, LAST_NUMBER) if number not in taken)


def this_process() -> str:
    """An owner that no later process is mistaken for: numbers are reused, start times are not."""
    return process(os.getpid())


def process(pid: int) -> str:
    return f"{pid}.{_started(pid)}"


def is_alive(owner: str) -> bool:
    """Whether the owner may still want what it started."""
    pid, _, started = owner.partition(".")
    return owner == KEEP or _started(int(pid)) == started


def sweep() -> None:
    """Remove what owners left that are gone."""
    for owner in owners():
        if not is_alive(owner):
            clean_up(owner)


def owners() -> set[str]:
    """Everybody who has something in the lab."""
    found = (NAME.match(name) for name in [*containers(), *namespaces()])
    return {match["owner"] for match in found if match}


def clean_up(owner: str) -> None:
    """Remove all containers and namespaces of an owner, whether or not anybody knows of them."""
    mine = f"{PREFIX}{owner}-"
    doomed = [name for name in containers() if name.startswith(mine)]
    if doomed:
        call([*PODMAN, "rm", "--force", "--time", "0", *doomed], check=False)
    for name in namespaces():
        if name.startswith(mine):
            remove(name)


def containers() -> list[str]:
    """The names of the lab's containers, running or not."""
    listed = call(["podman", "ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}"]).stdout
    return [name for name in listed.split() if name.startswith(PREFIX)]


def _started(pid: int) -> str:
    """When a process began, in ticks since boot; empty when there is none, or nobody has noticed its end yet."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else rest[18]
