"""One throw-away host: a container whose first process is systemd, on the lab's own network.

What such a host cannot do, so that a test does not wonder:

- Only net.* sysctls are its own. All others are the machine's: readable, refused when written. A file in
  /etc/sysctl.d that names one of them leaves its value alone at boot.
- Its hard limit of open files is the machine's (20,000 where CAP_SYS_RESOURCE is missing): a unit with a
  higher LimitNOFILE= starts without an error, and /proc/PID/limits tells the truth.
- It has no udev, no logind and no kernel of its own: no modules to load, no swap, no boot loader.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from typing import Literal

from tests.lab import debian
from tests.lab.any_host import AnyHost, Completed
from tests.lab.network import Address, World, inside
from tests.lab.process import LabError, call
from tests.patience import whole

Backend = Literal["nft", "legacy"]

LABEL = "hostguard-lab"
PODMAN = ("podman", "--cgroup-manager=cgroupfs", "--runtime=runc")  # crun refuses hybrid cgroups
SOURCE_INSIDE = "/opt/hostguard-src"
LIBRARIES_INSIDE = "/opt/hostguard-lib"
PYTHON_SETTINGS = {
    "PYTHONPATH": f"{LIBRARIES_INSIDE}:{SOURCE_INSIDE}",
    "PYTHONPYCACHEPREFIX": debian.PYCACHE,
}
BOOT_SECONDS = 90

# systemctl --wait needs somebody to talk to. The only poll is for the socket that it talks through.
WAIT_FOR_BOOT = """
until [ -S /run/systemd/private ]; do sleep 0.02; done
until state=$(systemctl is-system-running) || [ "$state" = degraded ]; do sleep 0.05; done
echo "$state"
"""


# What podman gives to whatever it starts in a container.
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "TERM": "xterm",
    "container": "podman",
}
# nsenter's own fork stops for good when its child is stopped, as a host that shuts down stops all that runs there.
FORK = '"$@"; exit $?'
# Into the host's cgroups, from within: systemd waits for ever for a process there that it can't see. Where there is
# version 2 alone, what has been divided holds no processes.
JOIN = """
groups=/sys/fs/cgroup/*/cgroup.procs
[ ! -e /sys/fs/cgroup/cgroup.controllers ] || groups=/sys/fs/cgroup/init.scope/cgroup.procs
for group in $groups; do echo $$ > $group; done 2> /dev/null
exec "$@"
"""


class Host(AnyHost):
    """A host of the lab. Make one with Lab.host(); it is started and has booted when you get it."""

    settings = PYTHON_SETTINGS

    def __init__(
        self, world: World, container: str, number: int, *, hostname: str, image: str, options: Sequence[str] = ()
    ) -> None:
        self.world = world
        self.container = container  # also the name of its network namespace: a reboot needs the same path
        self.hostname = hostname
        self.image = image
        self.options = tuple(options)
        self.address = Address(number)
        self._first_process = ""  # as the machine counts them; another one after each boot

    def attach(self) -> None:
        """Make its network namespace, with its addresses."""
        self.world.attach(self.container, self.address.number)

    def start(self, backend: Backend = "nft") -> None:
        """Start the container, whose network is there already, and wait until it has booted."""
        call(self.command())
        self._first_process = ""
        self.wait()
        self.use_backend(backend)

    def command(self) -> list[str]:
        """What starts the container."""
        return [*PODMAN, "run", *self._options(), self.image]

    def wait(self) -> str:
        """Wait for the end of the boot; return "running" or "degraded"."""
        done = self.run(WAIT_FOR_BOOT, check=False, timeout=BOOT_SECONDS)
        if done.returncode:
            raise LabError(f"{self.hostname} did not boot: {done.stdout} {done.stderr}\n{self._failed()}")
        return done.stdout.strip()

    def reboot(self) -> str:
        """Shut systemd down, lose the kernel's state, boot again. Files stay; /run and the network do not."""
        self.shut_down()
        return self._boot_again()

    def lose_power(self) -> str:
        """Every process ends at once, and the host boots again. Files stay, also what was not yet on the disk."""
        call([*PODMAN, "stop", "--time", "0", self.container])
        return self._boot_again()

    def _boot_again(self) -> str:
        self.world.detach(self.container, self.address.number)
        self.attach()
        call([*PODMAN, "start", self.container])
        self._first_process = ""
        return self.wait()

    def shut_down(self) -> None:
        """Stop every service in order, as `poweroff` does. Fails when systemd had to be killed."""
        call([*PODMAN, "stop", "--time", whole(60), self.container])
        status = self.inspect("{{.State.ExitCode}}")
        if status == "137":
            raise LabError(f"{self.hostname} did not shut down within 60 s and was killed")

    def remove(self) -> None:
        """Destroy the host and all that it was made of."""
        call([*PODMAN, "rm", "--force", "--time", "0", self.container], check=False)
        self.world.detach(self.container, self.address.number)

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 300,
    ) -> Completed:
        """Run a program in the host as root. A string goes to its shell, a list does not."""
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        return call(self.inside(argv, env=env), check=check, input=input, timeout=timeout)

    def inside(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs a program in the host, as `podman exec` does at twenty times the cost: in all of
        its namespaces, in its cgroups, with its environment alone."""
        if not self._first_process:
            self._first_process = self.inspect("{{.State.Pid}}")
        settings = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
        enter = ["nsenter", "--target", self._first_process, "--all", "--wd", "--no-fork", "env", "-i"]
        return [*enter, *settings, "sh", "-c", FORK, "sh", "sh", "-c", JOIN, "sh", *argv]

    def in_network(self, argv: Sequence[str], *, check: bool = True, input: str | None = None) -> Completed:
        """Run a program of the machine's in the host's network namespace, past the host's own accounts."""
        return call([*inside(self.container), *argv], check=check, input=input)

    def use_backend(self, backend: Backend) -> None:
        """Choose what the `iptables` and `ip6tables` commands speak to."""
        for name in ("iptables", "ip6tables"):
            self.run(["update-alternatives", "--quiet", "--set", name, f"/usr/sbin/{name}-{backend}"])

    @property
    def backend(self) -> Backend:
        """What the host's `iptables` speaks to right now."""
        return "legacy" if "legacy" in self.out(["iptables", "--version"]) else "nft"

    def inspect(self, template: str) -> str:
        """What podman knows about the container."""
        return call(["podman", "inspect", "--format", template, self.container]).stdout.strip()

    def _options(self) -> list[str]:
        """How to run systemd in a container so that slices work and the machine stays untouched.

        --privileged --systemd=always also boots, but slices silently do nothing there, and the machine's
        disks and cgroups are in reach. Here the image's first process fences the machine's sysctls off.
        """
        libraries = debian.libraries_for(self.image)
        return [
            "--detach",
            f"--name={self.container}",
            f"--label={LABEL}={self.address.number}",
            f"--hostname={self.hostname}",
            f"--network=ns:/run/netns/{self.container}",
            "--no-hosts",
            "--dns=none",
            "--systemd=false",
            "--cgroupns=private",
            "--cap-add=ALL",
            "--security-opt=unmask=ALL",
            "--security-opt=seccomp=unconfined",
            "--log-driver=none",
            _ulimit("nofile", resource.RLIMIT_NOFILE, 1 << 20),
            _ulimit("nproc", resource.RLIMIT_NPROC, 32768),
            "--tmpfs=/run:rw,mode=755",
            "--tmpfs=/run/lock",
            "--tmpfs=/tmp:rw,mode=1777",
            f"--volume={debian.REPOSITORY}:{SOURCE_INSIDE}:ro",
            f"--volume={libraries}:{LIBRARIES_INSIDE}:ro",
            f"--volume={debian.compiled(libraries)}:{debian.PYCACHE}",
            *self.options,
        ]

    def _failed(self) -> str:
        return self.run("systemctl --failed --no-legend; journalctl -b -p warning -n 30", check=False).stdout


def _ulimit(name: str, limit: int, wanted: int) -> str:
    """What is wanted, or as much as this machine may give: nobody raises a hard limit in a container."""
    hard = resource.getrlimit(limit)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    return f"--ulimit={name}={value}:{value}"
