"""A virtual machine of the lab: a real kernel of its own, under qemu's emulator, spoken to over SSH.

What only such a machine shows: a kernel that has never tracked a connection, sysctls and modules that are the
host's own, cgroups of version 2 alone, swap and noswap, high limits, reboots and resets. It costs a boot of half
a minute and programs that run ten times slower, so what a container can show is shown there.

Its one neighbour is qemu's user network: callers come from CALLER, RESOLVER answers, and SERVERS accept any
connection and say nothing. Nothing else can be reached from it.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import re
import selectors
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from tests.lab import debian, disk
from tests.lab.any_host import AnyHost, Completed
from tests.lab.lab import PREFIX, is_alive, this_process
from tests.lab.process import LabError, call

ADDRESS, CALLER, RESOLVER = "10.0.2.15", "10.0.2.2", "10.0.2.3"
SERVERS = ("10.0.2.100", "10.0.2.101")  # on port 443
MACHINES = debian.CACHE / "machines"
BOOT_SECONDS = 300
END_SECONDS = 120
KERNEL = "root=/dev/vda rw console=ttyS0 quiet"


class Machine(AnyHost):
    """A virtual machine. Use it with `with`: it has booted when you get it, and is gone at the end."""

    settings: Mapping[str, str] = {
        "PYTHONPATH": f"{disk.LIBRARIES}:{disk.SOURCES}",
        "PYTHONPYCACHEPREFIX": disk.PYCACHE,
    }

    def __init__(self, name: str = "machine") -> None:
        self.name = name
        self.disk = disk.ensure()
        self.folder = MACHINES / f"{this_process()}-{name}"
        self.port = 0
        self._qemu: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Machine:
        sweep()
        try:
            self._make_disks()
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def start(self, *, cpu: str = "max") -> str:
        """Switch it on and wait until it has booted."""
        with (self.folder / "qemu.log").open("wb") as log:
            self._qemu = subprocess.Popen(self._command(cpu), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.remove)
        # qemu has chosen a free port by itself; a port that we had chosen might be taken by now.
        found = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", self.monitor("info usernet"))
        assert found is not None
        self.port = int(found.group(1))
        return self.wait()

    def wait(self, *, boot_before: str = "") -> str:
        """Wait for the end of a boot (of another boot than that one); return "running" or "degraded"."""
        ask = "cat /proc/sys/kernel/random/boot_id; systemctl is-system-running"
        give_up = time.monotonic() + BOOT_SECONDS
        # A new connection each time: what a boot loads may cut the one that is open.
        while time.monotonic() < give_up:
            self._must_run()
            boot, _, state = self.run(ask, check=False).stdout.strip().partition("\n")
            if boot != boot_before and state in ("running", "degraded"):
                return state
            time.sleep(0.5)
        raise LabError(f"{self.name} did not boot within {BOOT_SECONDS} s:\n{self.console()}")

    def reboot(self) -> str:
        """Shut systemd down and boot again, as `reboot` does."""
        before = self.boot_id()
        self.run("systemctl reboot", check=False)  # the connection may end before the answer
        return self.wait(boot_before=before)

    def reset(self) -> str:
        """Press the reset button: nothing is shut down, nothing is written any more."""
        before = self.boot_id()
        self._ask("system_reset")
        return self.wait(boot_before=before)

    def shut_down(self) -> None:
        """Switch it off in order. Its disk stays, and start() goes on from there."""
        assert self._qemu is not None
        self.run("systemctl poweroff", check=False)
        try:
            self._qemu.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not shut down within {END_SECONDS} s:\n{self.console()}") from None

    def remove(self) -> None:
        """Switch it off where it stands, and remove its disk."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.remove)

    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 300,
    ) -> Completed:
        """Run a program over a connection of its own. A failure to connect is a return code of 255."""
        return call(self.ssh(command, env=env, alive_seconds=10), check=check, input=input, timeout=timeout)

    def ssh(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        alive_seconds: int = 0,
    ) -> list[str]:
        """The command line that runs a program in the machine: a new connection each time, never a shared one.

        With `alive_seconds` the connection asks that often whether there is still a machine at its other end.
        """
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        settings = [f"{name}={value}" for name, value in (env or {}).items()]
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": 5,
            "ControlPath": "none",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "ServerAliveInterval": alive_seconds,
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": "/dev/null",
        }
        spelled = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        inside = shlex.join(["env", *settings, *argv] if settings else argv)
        return ["ssh", "-F", "none", *spelled, "-i", str(self.disk.key), "-p", str(self.port), "root@127.0.0.1", inside]

    def session(self) -> Session:
        """A shell over one connection that stays open."""
        return Session(self.ssh(["sh"], env=self.settings))

    def answers(self, *, seconds: float = 5) -> bool:
        """Whether a new SSH connection gets through, and to the end, within that time."""
        try:
            return call(self.ssh(["true"]), check=False, timeout=seconds).returncode == 0
        except subprocess.TimeoutExpired:  # cut off in the middle, it would wait for ever
            return False

    def boot_id(self) -> str:
        return self.out("cat /proc/sys/kernel/random/boot_id")

    def console(self) -> str:
        """The last lines that the machine wrote to its serial port."""
        with contextlib.suppress(OSError):
            return (self.folder / "console.log").read_text(errors="replace")[-3000:]
        return ""

    def monitor(self, command: str) -> str:
        """What qemu's own monitor says."""
        return str(self._ask("human-monitor-command", {"command-line": command}))

    def _ask(self, what: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """One command of the QEMU Machine Protocol."""
        with socket.socket(socket.AF_UNIX) as channel:
            self._connect(channel)
            channel.settimeout(30)
            lines = channel.makefile("rw", encoding="utf-8")
            lines.readline()  # the greeting
            for command in ({"execute": "qmp_capabilities"}, {"execute": what, "arguments": dict(arguments or {})}):
                lines.write(json.dumps(command) + "\n")
                lines.flush()
                answer = json.loads(lines.readline())
                while "event" in answer:
                    answer = json.loads(lines.readline())
                if "error" in answer:
                    raise LabError(f"qemu: {answer['error']['desc']}")
        return answer["return"]

    def _connect(self, channel: socket.socket) -> None:
        give_up = time.monotonic() + 30
        while True:
            self._must_run()
            try:
                return channel.connect(str(self.folder / "qmp"))
            except OSError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.05)

    def _must_run(self) -> None:
        assert self._qemu is not None
        if self._qemu.poll() is not None:
            raise LabError(f"qemu ended with {self._qemu.returncode}: {(self.folder / 'qemu.log').read_text()}")

    def _make_disks(self) -> None:
        """A layer over the root disk, and this repository's sources as a second disk."""
        self.folder.mkdir(parents=True)
        backing = ["-b", str(self.disk.root), "-F", "raw"]
        call(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(self.folder / "root.qcow2")])
        sources = self.folder / "sources"
        hidden = shutil.ignore_patterns("__pycache__")
        shutil.copytree(debian.REPOSITORY / "hostguard", sources / "hostguard", ignore=hidden)
        disk.make_file_system(sources, self.folder / "sources.img", "16M")

    def _command(self, cpu: str) -> list[str]:
        forwards = [f"guestfwd=tcp:{server}:443-cmd:/bin/cat" for server in SERVERS]
        network = ["user", "id=net", "restrict=on", "hostfwd=tcp:127.0.0.1:0-:22", *forwards]
        return [
            *("setpriv", "--pdeathsig", "KILL"),  # whoever kills us has killed it too
            "qemu-system-x86_64",
            *("-name", f"{PREFIX}{self.folder.name}"),
            *("-accel", "tcg,thread=multi"),  # KVM is not everywhere, and where it is it may not boot a stock kernel
            *("-cpu", cpu, "-smp", "2", "-m", "1024"),
            *("-kernel", str(self.disk.kernel), "-initrd", str(self.disk.initrd), "-append", KERNEL),
            # The disk is thrown away: what the guest writes need not reach ours before it goes on.
            *("-drive", f"file={self.folder}/root.qcow2,if=virtio,format=qcow2,cache=unsafe"),
            *("-drive", f"file={self.folder}/sources.img,if=virtio,format=raw,readonly=on"),
            *("-netdev", ",".join(network), "-device", "virtio-net-pci,netdev=net,romfile="),
            *("-nodefaults", "-display", "none", "-serial", f"file:{self.folder}/console.log"),
            *("-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"),
        ]


class Session:
    """One SSH connection with a shell at its end, to see whether it lives on."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._ssh = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ssh.kill()
        self._ssh.communicate()

    def say(self, line: str) -> None:
        """Type a line."""
        assert self._ssh.stdin is not None
        self._ssh.stdin.write(f"{line}\n".encode())
        self._ssh.stdin.flush()

    def hears(self, pattern: str, *, seconds: float = 60) -> re.Match[str]:
        """Wait for what the shell prints next that looks like this. Raises LabError when the line stays silent."""
        assert self._ssh.stdout is not None
        heard, give_up = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._ssh.stdout, selectors.EVENT_READ)
            while True:
                if found := re.search(pattern, heard.decode(errors="replace"), re.MULTILINE):
                    return found
                if not selector.select(max(0.0, give_up - time.monotonic())):
                    raise LabError(f"the session is silent after {seconds:g} s; it said: {heard!r}")
                piece = self._ssh.stdout.read1()  # type: ignore[attr-defined]
                if not piece:
                    raise LabError(f"the session has ended; it said: {heard!r}")
                heard += piece


def sweep() -> None:
    """Remove the disks of machines whose owner is gone; the machines went with it."""
    for folder in MACHINES.glob("*-*"):
        if not is_alive(folder.name.partition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)
