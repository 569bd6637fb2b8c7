"""A virtual machine of the lab: a real kernel of its own, under qemu's emulator, spoken to over SSH.

What only such a machine shows: a kernel that has never tracked a connection, sysctls and modules that are the
host's own, cgroups of version 2 alone, swap and noswap, high limits, reboots and resets. It costs a boot of half
a minute and programs that run ten times slower, so what a container can show is shown there.

Its neighbour is qemu's user network: callers come from CALLER, RESOLVER answers, and SERVERS accept any connection
and say nothing. Nothing else can be reached from it, unless it is given a cable to the world of a lab.
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
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.lab import debian, disk
from tests.lab.any_host import AnyHost, Completed
from tests.lab.lab import PREFIX, is_alive, this_process
from tests.lab.network import MACHINES_NUMBER, Address
from tests.lab.process import LabError, call, checked
from tests.patience import Patience, ended, whole

ADDRESS, CALLER, RESOLVER = "10.0.2.15", "10.0.2.2", "10.0.2.3"
SERVERS = ("10.0.2.100", "10.0.2.101")  # on port 443
WIRED = Address(MACHINES_NUMBER)
"""Where a machine lives that has a cable, once it has given itself this address."""
MACHINES = debian.CACHE / "machines"
BOOT_SECONDS = 300
END_SECONDS = 120
ANSWER_SECONDS = 60  # sshd of an emulated machine that swaps says its first word after more than 5
LOOK_SECONDS = 5  # during a boot a connection may hang: the next one finds what is up by then
KERNEL = "root=/dev/vda rw console=ttyS0 quiet oops=panic panic=-1 mitigations=off"  # and -no-reboot: it ends at once
PANIC = re.compile(r"Kernel panic - not syncing: .*")

panics: list[str] = []
"""What kernels of this process's machines said when they gave up. `drain_panics` reads it; see tests/lab/again.py."""
_on: list[Machine] = []


class Machine(AnyHost):
    """A virtual machine. Use it with `with`: it has booted when you get it, and is gone at the end."""

    settings: Mapping[str, str] = {
        "PYTHONPATH": f"{disk.LIBRARIES}:{disk.SOURCES}",
        "PYTHONPYCACHEPREFIX": debian.PYCACHE,
    }

    def __init__(self, name: str = "machine", *, disks: Sequence[Path] = (), cable: int | None = None) -> None:
        """`disks`: raw images that are /dev/vdc and so on, and may be written; `cable`: of World.cable(), at WIRED."""
        self.name = name
        self.disks = tuple(disks)
        self.cable = cable
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
            kept = () if self.cable is None else (self.cable,)
            self._qemu = subprocess.Popen(
                self._command(cpu), stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=kept
            )
        atexit.register(self.remove)
        if self not in _on:
            _on.append(self)
        # qemu has chosen a free port by itself; a port that we had chosen might be taken by now.
        found = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", self.monitor("info usernet"))
        assert found is not None
        self.port = int(found.group(1))
        return self.wait()

    def wait(self) -> str:
        """Wait for the end of the boot; return "running" or "degraded"."""
        patience = Patience(BOOT_SECONDS)
        # A new connection each time: what a boot loads may cut the one that is open.
        while patience.left():
            self._must_run()
            asked = self.ssh("systemctl is-system-running", connect_seconds=LOOK_SECONDS, alive_seconds=LOOK_SECONDS)
            state = call(asked, check=False).stdout.strip()
            if state in ("running", "degraded"):
                return state
            time.sleep(0.5)
        raise LabError(f"{self.name} did not boot within {BOOT_SECONDS} s:\n{self.console()}")

    def reboot(self) -> str:
        """Shut systemd down and boot again, as `reboot` does: qemu ends (-no-reboot) and is started again, since a
        kernel that comes up in the same qemu takes twice as long."""
        self._shut_down("reboot")
        return self.start()

    def reset(self) -> str:
        """Cut the power and switch it on again."""
        self.cut()
        return self.start()

    def cut(self) -> None:
        """Cut the power: nothing is shut down, nothing is written any more. start() goes on from there."""
        assert self._qemu is not None
        self._ask("quit")  # killed, qemu would lose what the guest has written
        ended(self._qemu, seconds=END_SECONDS)

    def shut_down(self) -> None:
        """Switch it off in order. Its disk stays, and start() goes on from there."""
        self._shut_down("poweroff")

    def _shut_down(self, how: str) -> None:
        assert self._qemu is not None
        # A connection that is open when the network goes would wait for its end for half a minute.
        self.run(f"systemctl --no-block {how}")
        try:
            ended(self._qemu, seconds=END_SECONDS)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not shut down within {END_SECONDS} s:\n{self.console()}") from None

    def remove(self) -> None:
        """Switch it off where it stands, and remove its disk."""
        note_panic(self.folder)
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
            _on.remove(self)
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
        done = call(self.ssh(command, env=env, alive_seconds=20), check=False, input=input, timeout=timeout)
        if done.returncode == 255:
            self._must_run()
        return checked(done) if check else done

    def ssh(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        connect_seconds: int = ANSWER_SECONDS,
        alive_seconds: int = 0,
    ) -> list[str]:
        """The command line that runs a program in the machine: a new connection each time, never a shared one.

        With `alive_seconds` the connection asks that often whether there is still a machine at its other end, and ends
        after three questions without an answer. Both are seconds of an idle machine.
        """
        argv = ["sh", "-c", command] if isinstance(command, str) else list(command)
        settings = [f"{name}={value}" for name, value in (env or {}).items()]
        options = {
            "BatchMode": "yes",
            "ConnectTimeout": whole(connect_seconds),
            "ControlPath": "none",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "ServerAliveInterval": whole(alive_seconds),
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
            channel.settimeout(float(whole(30)))
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
        patience = Patience(30)
        while True:
            self._must_run()
            try:
                return channel.connect(str(self.folder / "qmp"))
            except OSError:
                if not patience.left():
                    raise
                time.sleep(0.05)

    def _must_run(self) -> None:
        assert self._qemu is not None
        if said := panicked(self.folder):
            raise LabError(f"the kernel of {self.name} has given up: {said}")
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
            *("qemu-system-x86_64", "-no-reboot"),
            *("-name", f"{PREFIX}{self.folder.name}"),
            # KVM is not everywhere, and where it is it may not boot a stock kernel. One thread takes as much of the
            # machine as one for each of the two processors; with two, a kernel panicked in one of four runs.
            *("-accel", "tcg,thread=single"),
            *("-cpu", cpu, "-smp", "2", "-m", "1024"),
            *("-kernel", str(self.disk.kernel), "-initrd", str(self.disk.initrd), "-append", KERNEL),
            # The disk is thrown away: what the guest writes need not reach ours before it goes on.
            *("-drive", f"file={self.folder}/root.qcow2,if=virtio,format=qcow2,cache=unsafe"),
            *("-drive", f"file={self.folder}/sources.img,if=virtio,format=raw,readonly=on"),
            *(word for each in self.disks for word in ("-drive", f"file={each},if=virtio,format=raw,cache=unsafe")),
            *("-netdev", ",".join(network), "-device", f"virtio-net-pci,netdev=net,romfile=,mac={disk.CARD}"),
            *self._wired(),
            *("-nodefaults", "-display", "none", "-serial", f"file:{self.folder}/console.log"),
            *("-qmp", f"unix:{self.folder}/qmp,server=on,wait=off"),
        ]

    def _wired(self) -> list[str]:
        if self.cable is None:
            return []
        return ["-netdev", f"tap,id=world,fd={self.cable}",
                "-device", f"virtio-net-pci,netdev=world,romfile=,mac={WIRED.mac}"]  # fmt: skip


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
        heard, patience = b"", Patience(seconds)
        with selectors.DefaultSelector() as selector:
            selector.register(self._ssh.stdout, selectors.EVENT_READ)
            while True:
                if found := re.search(pattern, heard.decode(errors="replace"), re.MULTILINE):
                    return found
                if not selector.select(patience.left()):
                    if patience.left():
                        continue
                    raise LabError(f"the session is silent after {seconds:g} s; it said: {heard!r}")
                piece = self._ssh.stdout.read1()  # type: ignore[attr-defined]
                if not piece:
                    raise LabError(f"the session has ended; it said: {heard!r}")
                heard += piece


def panicked(folder: Path) -> str:
    """What the kernel of the machine in this folder said when it gave up; "" while it lives."""
    with contextlib.suppress(OSError):
        console = (folder / "console.log").read_text(errors="replace")
        if found := PANIC.search(console):
            where = re.search(r"RIP: \w+:(\S+)", console)
            return found[0].strip() + (f" in {where[1]}" if where else "")
    return ""


def note_panic(folder: Path) -> None:
    """For a caller that asks once the folder is gone."""
    if said := panicked(folder):
        panics.append(said)


def drain_panics() -> str:
    """What kernels said when they gave up, since the last call; "" where none did."""
    said = "; ".join([*panics, *filter(None, (panicked(machine.folder) for machine in _on))])
    panics.clear()
    return said


def sweep() -> None:
    """Remove the disks of machines whose owner is gone; the machines went with it."""
    for folder in MACHINES.glob("*-*"):
        if not is_alive(folder.name.partition("-")[0]):
            shutil.rmtree(folder, ignore_errors=True)
