"""The confirm window: the host itself goes back unless a new connection says that the way in still works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import zipfile
from typing import Dict, Optional

from . import store
from .kinds.unit import systemd_runs
from .program import environment, run
from .resource import HostError

PROGRAM = store.FOLDER + "/program.pyz"
MAIN = "import sys\nfrom hostguard_host.program_main import main\nsys.exit(main(sys.argv[1:]))\n"


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def now() -> float:
    """Seconds since boot, counting sleep: a clock that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def arm(generation: int, seconds: float) -> None:
    """Start the watcher before anything is written; it is the host's own process and outlives this one."""
    _install_program()
    store.set_pending(
        {
            "generation": generation,
            "seconds": seconds,
            "deadline": now() + seconds,
            "boot": boot_id(),
            "connection": connection(),
        }
    )
    if systemd_runs():
        _survive_reboot()
    watch = [sys.executable, "-I", PROGRAM, "expire", str(generation)]
    if systemd_runs():
        run(["systemd-run", "--quiet", "--collect", "--unit=hostguard-confirm-{}".format(generation), *watch])
    else:
        subprocess.Popen(
            watch,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment(),
        )


RECOVERY = "/etc/systemd/system/hostguard-recover.service"
RECOVERY_WANTED = "/etc/systemd/system/multi-user.target.wants/hostguard-recover.service"
RECOVERY_UNIT = """\
# Written by hostguard for the time of a confirm window: a reboot within it goes back.
[Unit]
Description=hostguard: go back from an apply that nobody confirmed
ConditionPathExists={pending}

[Service]
Type=oneshot
ExecStart={python} -I {program} recover
"""


def _survive_reboot() -> None:
    """The watcher dies with the machine. Written by hand and not by systemctl: it is for the next boot alone."""
    with open(RECOVERY, "w", encoding="ascii") as file:
        file.write(RECOVERY_UNIT.format(pending=store.PENDING, python=sys.executable, program=PROGRAM))
    os.makedirs(os.path.dirname(RECOVERY_WANTED), mode=0o755, exist_ok=True)
    if not os.path.lexists(RECOVERY_WANTED):
        os.symlink(RECOVERY, RECOVERY_WANTED)


def close() -> None:
    """The window is over, whichever way: nothing of it stays."""
    store.set_pending(None)
    for path in (RECOVERY_WANTED, RECOVERY, PROGRAM):
        if os.path.lexists(path):
            os.unlink(path)


def _install_program() -> None:
    """The watcher must run when whatever started this apply (a checkout, a zip from a controller) is gone."""
    here = os.path.dirname(os.path.abspath(__file__))
    with zipfile.ZipFile(PROGRAM + ".new", "w") as archive:
        archive.writestr("__main__.py", MAIN)
        for name, content in sources(here).items():
            archive.writestr("hostguard_host/" + name, content)
    os.chmod(PROGRAM + ".new", 0o600)
    os.rename(PROGRAM + ".new", PROGRAM)


def sources(here: str) -> Dict[str, bytes]:
    """The host program's own modules by path, whether it runs from a folder or from a zip."""
    loader = getattr(sys.modules[__name__], "__loader__", None)
    archive: Optional[str] = getattr(loader, "archive", None)
    if archive:
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if name.startswith("hostguard_host/")]
            return {name[len("hostguard_host/") :]: opened.read(name) for name in names}
    found = {}
    for folder, _, names in os.walk(here):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, "rb") as file:
                    found[os.path.relpath(path, here)] = file.read()
    return found


def connection() -> str:
    """The SSH connection that this process came in by, from the nearest ancestor that knows: sudo forgets it."""
    pid = os.getpid()
    while pid > 1:
        try:
            with open("/proc/{}/environ".format(pid), "rb") as file:
                for entry in file.read().split(b"\0"):
                    if entry.startswith(b"SSH_CONNECTION="):
                        return entry.partition(b"=")[2].decode("ascii", "replace")
            with open("/proc/{}/stat".format(pid), encoding="utf-8", errors="replace") as status:
                pid = int(status.read().rpartition(")")[2].split()[1])
        except OSError:
            return ""
    return ""


def confirm() -> int:
    """Keep what the last apply did. Raises HostError over the connection that applied it: it proves nothing."""
    with store.locked():
        window = store.pending()
        if window is None:
            raise HostError("nothing waits to be confirmed (see `hostguard history`)")
        mine = connection()
        if mine and mine == window["connection"]:
            raise HostError(
                "this is the connection that applied it, which proves nothing: open a new one and confirm there"
            )
        for record in store.records():
            if record["number"] == window["generation"] and record["status"] == store.UNCONFIRMED:
                record["status"] = store.APPLIED
                store.save(record)
                close()
                return int(window["generation"])
        raise HostError("generation {} is not waiting any more".format(window["generation"]))
