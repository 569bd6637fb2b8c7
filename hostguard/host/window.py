"""The confirm window: the host itself goes back unless a new connection says that the way in still works."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
import zipfile
from typing import Iterator, List, Tuple

from . import sources, store
from .kinds.unit import systemd_runs
from .program import environment, run
from .resource import HostError

PROGRAM = store.FOLDER + "/program.pyz"
LONGEST_WRITE = 300.0
"""Seconds after which an apply that is still writing is taken to hang. Each of its programs may take 120."""
MAIN = "import sys\nfrom hostguard_host.program_main import main\nsys.exit(main(sys.argv[1:]))\n"


def boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def now() -> float:
    """Seconds since boot, counting sleep: a clock that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def arm(generation: int, seconds: float) -> None:
    """Before anything is written: what takes this host back if we can't, whatever becomes of us.

    A watcher, which is the host's own process and outlives this one, and two units for a boot that comes first.
    With `seconds` 0 nobody is waited for, and only the boot's units are there, until the last thing is written.
    """
    made = _survive_reboot() if systemd_runs() else []
    store.set_pending(
        {
            "generation": generation,
            "seconds": seconds,
            "deadline": now() + LONGEST_WRITE,
            "writer": [os.getpid(), started(os.getpid())],
            "boot": boot_id(),
            "connection": connection(),
            "made": made,
        }
    )
    if seconds:
        _watch(generation)


def _watch(generation: int) -> None:
    watch = [sys.executable, "-I", PROGRAM, "expire", str(generation)]
    if systemd_runs():
        # It is the way back: memory runs out for others first, and if it dies all the same, it comes again.
        settings = ["Restart=on-failure", "RestartSec=1", "OOMScoreAdjust=-1000"]
        named = ["--quiet", "--collect", "--unit=hostguard-confirm-{}".format(generation)]
        run(["systemd-run", *named, *("--property=" + setting for setting in settings), *watch])
        return
    _install_program()
    subprocess.Popen(
        watch,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env=environment(),
    )


def wait() -> None:
    """All is written: from now on the time runs in which somebody must confirm."""
    pending = store.pending()
    if pending is not None:
        store.set_pending(dict(pending, deadline=now() + pending["seconds"], writer=None))


def keep_trying(watched: bool = True) -> None:
    """The way back failed: a watcher tries it again until it is done, and a boot does if it comes first. `watched`: one
    was started with the window, if there was any."""
    pending = store.pending()
    if pending is None:
        return  # it failed before anything was armed, and so before anything was written
    store.set_pending(dict(pending, deadline=now(), writer=None))
    if not (watched and pending["seconds"]):
        _watch(pending["generation"])


def started(pid: int) -> str:
    """When a process began, in ticks since boot: numbers are used again, start times are not. "" without it."""
    try:
        with open("/proc/{}/stat".format(pid), encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""


SYSTEM_UNITS = "/etc/systemd/system/"
RECOVERY = SYSTEM_UNITS + "hostguard-recover.service"
RECOVERY_WANTED = SYSTEM_UNITS + "multi-user.target.wants/hostguard-recover.service"
RECOVERY_UNIT = """\
# Written by hostguard for the time of an apply: a boot within it goes back.
[Unit]
Description=hostguard: go back from an apply that nobody confirmed
# Both hold the lock of this host: on a slow boot the first one was still at it.
After=hostguard-recover-rules.service {unit}
ConditionPathExists={pending}

[Service]
Type=oneshot
ExecStart={python} -I {program} recover
"""
RULES = SYSTEM_UNITS + "hostguard-recover-rules.service"
RULES_WANTED = SYSTEM_UNITS + "sysinit.target.wants/hostguard-recover-rules.service"
RULES_UNIT = """\
# Written by hostguard for the time of an apply: a boot within it loads the rules that were confirmed last.
[Unit]
Description=hostguard: the rules that were confirmed last, before they are loaded
DefaultDependencies=no
RequiresMountsFor={folder} {rules}
After=systemd-remount-fs.service
Before={unit} network-pre.target shutdown.target
Conflicts=shutdown.target
ConditionPathExists={pending}

[Service]
Type=oneshot
ExecStart={python} -I {program} recover-rules
"""


def _survive_reboot() -> List[str]:
    """The watcher dies with the machine. Written by hand and not by systemctl: it is for the next boot alone.

    Returns the folders that were made for it.
    """
    _install_program()
    filled = {"pending": store.PENDING, "folder": store.FOLDER, "rules": store.BOOT_RULES, "unit": store.BOOT_UNIT}
    made = []
    for path, wanted, text in ((RECOVERY, RECOVERY_WANTED, RECOVERY_UNIT), (RULES, RULES_WANTED, RULES_UNIT)):
        content = text.format(python=sys.executable, program=PROGRAM, **filled)
        store.write_durably(path, content.encode("ascii"), 0o644)
        if not os.path.isdir(os.path.dirname(wanted)):
            os.makedirs(os.path.dirname(wanted), mode=0o755)
            made.append(os.path.dirname(wanted))
        if not os.path.lexists(wanted):
            os.symlink(path, wanted)
    store.write_durably(store.HOLD, b"", 0o600)
    return made


def close() -> None:
    """The window is over, whichever way: nothing of it stays."""
    pending = store.pending() or {}
    store.remove(store.HOLD)
    store.set_pending(None)
    for path in (RECOVERY_WANTED, RECOVERY, RULES_WANTED, RULES, PROGRAM):
        store.remove(path)
    for folder in pending.get("made", []):
        with contextlib.suppress(OSError):  # others want something there by now
            os.rmdir(folder)


def keep() -> None:
    """The window is over, and what was applied stays.

    The boot's unit is started: systemd reloads one that is active alone, when what may have flushed its rules reloads.
    """
    close()
    if systemd_runs() and os.path.exists(SYSTEM_UNITS + store.BOOT_UNIT):
        run(["systemctl", "start", "--", store.BOOT_UNIT], check=False)


def _install_program() -> None:
    """The watcher must run when whatever started this apply (a checkout, a question out of memory) is gone."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("__main__.py", MAIN)
        for name, module in sources.own().items():
            archive.writestr("hostguard_host/" + name, module)
    store.write_durably(PROGRAM, content.getvalue(), 0o600)


# What keeps a shell alive from one connection to the next: in it nobody can tell over which one he types.
MULTIPLEXERS = ("tmux: server", "tmux", "screen", "SCREEN", "mosh-server", "zellij", "dtach", "abduco")


def ancestors() -> Iterator[Tuple[int, str]]:
    """This process and those it came from: (number, name)."""
    pid = os.getpid()
    while pid > 1:
        try:
            with open("/proc/{}/stat".format(pid), encoding="utf-8", errors="replace") as file:
                head, _, tail = file.read().rpartition(")")
        except OSError:
            return
        yield pid, head.partition("(")[2]
        pid = int(tail.split()[1])


def connection() -> str:
    """The SSH connection that this process came in by, from the nearest ancestor that knows: sudo forgets it."""
    for pid, _ in ancestors():
        try:
            with open("/proc/{}/environ".format(pid), "rb") as file:
                entries = file.read().split(b"\0")
        except OSError:
            continue
        for entry in entries:
            name, _, said = entry.partition(b"=")
            if name == b"SSH_CONNECTION" and said:
                return said.decode("ascii", "replace")
    return ""


def confirm() -> int:
    """Keep what the last apply did. Raises HostError over the connection that applied it, and for what else proves
    nothing."""
    with store.locked():
        pending = store.pending()
        if pending is None:
            raise HostError("nothing waits to be confirmed (see `hostguard history`)")
        if pending["boot"] != boot_id():
            raise HostError("this host was restarted before anybody confirmed: it goes back (`hostguard history`)")
        if pending["writer"] is None and now() > pending["deadline"]:
            raise HostError("too late: nobody confirmed in time, and this host goes back (`hostguard history`)")
        _prove(pending["connection"])
        for record in store.newest_first():
            if record["number"] == pending["generation"] and record["status"] == store.UNCONFIRMED:
                record["status"] = store.APPLIED
                store.save(record)
                keep()
                return int(pending["generation"])
        raise HostError("generation {} is not waiting any more".format(pending["generation"]))


def _prove(applied_over: str) -> None:
    """Raises HostError unless this is another connection than the one that applied, or a console."""
    within = next((name for _, name in ancestors() if name in MULTIPLEXERS), None)
    if within and applied_over:
        raise HostError(
            "inside {} nobody can tell which connection this is: open a new one, and confirm outside of it".format(
                within.split(":")[0]
            )
        )
    mine = connection()
    if mine and mine == applied_over:
        raise HostError(
            "this is the connection that applied it, which proves nothing: open a new one and confirm there"
        )
