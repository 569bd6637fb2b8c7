"""The confirm window: the host itself goes back unless a new connection says that the way in still works."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
import zipfile
from typing import Any, Dict, Iterator, List, Tuple

from . import dropped, facts, lock, proc, sources, store
from .children import aside
from .program import PYTHONS, environment, find, run
from .resource import HostError, TooLate, why
from .systemctl import systemd_runs

PROGRAM = store.FOLDER + "/program.pyz"
LONGEST_WRITE = 300.0
"""Seconds after which an apply that is still writing is taken to hang. Each of its programs may take 120."""
MAIN = "import sys\nfrom hostguard_host.program_main import main\nsys.exit(main(sys.argv[1:]))\n"


def now() -> float:
    """Seconds since boot, counting sleep: a clock that nobody sets."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def arm(generation: int, seconds: float) -> None:
    """Set up the way back before the first write: a watcher, which outlives this process, and two units for a boot that
    comes first. All of it stays until the last write, also without a window (`seconds` 0).

    Raises HostError or OSError.
    """
    runs = systemd_runs()
    # First: if anything after this is cut short, the next command, the watcher or a boot finds this and cleans up.
    store.set_pending(
        {
            "generation": generation,
            "seconds": seconds,
            "deadline": now() + LONGEST_WRITE,
            "writer": [os.getpid(), lock.started(os.getpid())],
            "boot": facts.boot_id(),
            "connection": connection_if_told(),
            "made": [folder for folder in WANTS if runs and not os.path.isdir(folder)],
        }
    )
    if runs or seconds:
        _install_program()
        watch(generation)
    if runs:
        _survive_reboot()


def watcher_of(generation: int) -> str:
    """The unit that waits for the end of a generation's window."""
    return "hostguard-confirm-{}.service".format(generation)


def watch(generation: int) -> None:
    """Have a process of the host's own take back this generation, if nobody does."""
    if not os.path.exists(PROGRAM):
        _install_program()
    call = [_lasting_python(), "-I", PROGRAM, "expire", str(generation)]
    if systemd_runs():
        settings = [option for setting in FOR_EVER for option in ("--property", setting.format(program=PROGRAM))]
        run(["systemd-run", "--quiet", "--collect", "--unit=" + watcher_of(generation), *settings, *call])
        return
    subprocess.Popen(
        call,
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


def keep_trying() -> None:
    """The way back failed: a watcher tries it again until it is done, and a boot does if it comes first."""
    pending = store.pending()
    if pending is None:
        return  # it failed before anything was armed, and so before anything was written
    with contextlib.suppress(OSError):  # without room for it the watcher sees that its writer ended
        store.set_pending(dict(pending, deadline=now(), writer=None))
    with contextlib.suppress(HostError, OSError):  # there is one already, or there is no room for one
        watch(pending["generation"])


PASSING = ("/home/", "/root/", "/tmp/", "/var/tmp/", "/run/", "/dev/shm/")  # noqa: S108 -- nothing is written there
"""What may be empty early in a boot, or be gone by then."""


def _lasting_python() -> str:
    """The interpreter for what outlives this process, by which the host goes back: the one that runs this may go with
    its virtual environment, or lie in a home that a boot has not mounted yet."""
    if _lasts(sys.executable):
        return sys.executable
    for python in filter(None, map(find, PYTHONS)):
        # It does nothing for a generation that is not there; a python without its standard library can't even do that.
        if _lasts(python) and run([python, "-I", PROGRAM, "expire", "0"], check=False).returncode == 0:
            return python
    return str(getattr(sys, "_base_executable", "") or sys.executable)


def _lasts(python: str) -> bool:
    folder = os.path.dirname(python)
    own = [os.path.join(each, "pyvenv.cfg") for each in (folder, os.path.dirname(folder))]
    return bool(python) and not python.startswith(PASSING) and not any(map(os.path.exists, own))


# It is the way back: memory runs out for others first, and however often it dies it comes again.
# Another target (`systemctl rescue`) ends all that it does not ask for, but for this. Without its program there is no
# window any more: it closed while the watcher was still starting.
FOR_EVER = ("Restart=on-failure", "RestartSec=1", "StartLimitIntervalSec=0", "OOMScoreAdjust=-1000",
            "IgnoreOnIsolate=yes", "ConditionPathExists={program}")  # fmt: skip

SYSTEM_UNITS = "/etc/systemd/system/"
RECOVERY = SYSTEM_UNITS + "hostguard-recover.service"
RECOVERY_UNIT = """\
# Written by hostguard for the time of an apply: a boot within it goes back.
[Unit]
Description=hostguard: go back from an apply that nobody confirmed
# Both hold the lock of this host: on a slow boot the first one was still at it.
After=hostguard-recover-rules.service {unit}
ConditionPathExists=|{pending}
ConditionPathExists=|{hold}
OnFailure=hostguard-recover-again.service

[Service]
Type=oneshot
ExecStart={python} -I {program} recover
"""
AGAIN = SYSTEM_UNITS + "hostguard-recover-again.service"
AGAIN_UNIT = """\
# Written by hostguard for the time of an apply: what a boot could not do at once is tried until it is done.
[Unit]
Description=hostguard: go on going back from an apply that nobody confirmed
ConditionPathExists={program}
StartLimitIntervalSec=0

[Service]
ExecStart={python} -I {program} recover-until-done
Restart=on-failure
RestartSec=1
OOMScoreAdjust=-1000
"""
RULES = SYSTEM_UNITS + "hostguard-recover-rules.service"
RULES_UNIT = """\
# Written by hostguard for the time of an apply: a boot within it loads the rules that were confirmed last.
[Unit]
Description=hostguard: the rules that were confirmed last, before they are loaded
DefaultDependencies=no
RequiresMountsFor={folder} {rules} {python}
After=systemd-remount-fs.service
Before={unit} network-pre.target shutdown.target
Conflicts=shutdown.target
# Every boot comes by here, and not every one by multi-user.target.
Wants=hostguard-recover.service
ConditionPathExists=|{pending}
ConditionPathExists=|{hold}

[Service]
Type=oneshot
ExecStart={python} -I {program} recover-rules
"""
WANTS = (SYSTEM_UNITS + "multi-user.target.wants", SYSTEM_UNITS + "sysinit.target.wants")
UNITS = ((AGAIN, AGAIN_UNIT), (RECOVERY, RECOVERY_UNIT), (RULES, RULES_UNIT))
LINKS = tuple((os.path.join(folder, os.path.basename(unit)), unit) for folder, unit in zip(WANTS, (RECOVERY, RULES)))


def _survive_reboot() -> None:
    """The watcher dies with the machine. Written by hand and not by systemctl: it is for the next boot alone."""
    filled = {
        "python": _lasting_python(),
        "program": PROGRAM,
        "pending": store.PENDING,
        "hold": store.HOLD,
        "folder": store.FOLDER,
        "rules": store.BOOT_RULES,
        "unit": store.BOOT_UNIT,
    }
    for path, text in UNITS:
        store.write_durably(path, text.format(**filled).encode("ascii"), 0o644)
    for link, path in LINKS:
        store.make_folder(os.path.dirname(link), 0o755)
        store.link_durably(link, path)
    # Last: a boot that finds it loads no rules, and then there must be who takes it away.
    store.write_durably(store.HOLD, b"", 0o600)


def close() -> None:
    """Remove the window's files and units, and stop its watcher.

    If this is cut short, the watcher, a boot or the next command finishes it: so the files that they need go last.
    """
    pending = store.pending() or {}
    store.remove(store.HOLD)
    _protect()
    dropped.forget(pending.get("generation", 0))
    for path in _files():
        store.remove(path)
    for folder in pending.get("made", []):
        with contextlib.suppress(OSError):  # others want something there by now
            os.rmdir(folder)
    store.set_pending(None)
    store.remove(PROGRAM)
    _dismiss(pending.get("generation", 0))


def _dismiss(generation: int) -> None:
    """End the watcher, unless it is who runs this: it would see for itself that the window is over, within a second."""
    name = watcher_of(generation)
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace", newline="\n") as file:
        mine = name in file.read()
    if generation and not mine and systemd_runs():
        with contextlib.suppress(HostError):
            run(["systemctl", "stop", "--", name], check=False)


def end() -> None:
    """The last word is said, and holds: what can't be cleared away now is left to the watcher or the next command."""
    try:
        close()
    except (HostError, OSError):
        keep_trying()


def left_open() -> bool:
    """Whether anything of a window is there."""
    return any(map(os.path.lexists, [PROGRAM, store.HOLD, *_files()]))


def _files() -> List[str]:
    """What a boot within the window finds, with what a write of it that was cut short leaves."""
    return [link for link, _ in LINKS] + [path + end for path, _ in UNITS for end in ("", store.BESIDE)]


def _protect() -> None:
    """The boot's unit is started: systemd reloads one that is active alone, when what may have flushed its rules
    reloads. While a window was open it was held. Where it does not start, the audit says so."""
    if systemd_runs() and os.path.exists(SYSTEM_UNITS + store.BOOT_UNIT):
        with contextlib.suppress(HostError):
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
            name, parent = proc.parent(pid)
        except OSError:
            return
        yield pid, name
        pid = parent


def connection() -> str:
    """The SSH connection that this process came in by, from the nearest ancestor that knows: sudo forgets it. "" where
    all say that they know none, as at a console. Raises HostError where one does not say, and no other knows."""
    return str(_came_in_by([pid for pid, _ in ancestors()]))


def connection_if_told() -> str:
    """The same; "" too where it can't be told."""
    with contextlib.suppress(HostError):
        return connection()
    return ""


@aside
def _came_in_by(pids: List[int]) -> str:
    silent = ""
    for pid in pids:
        proc.looking_at(pid)
        try:
            entries = proc.environment(pid)
        except (HostError, OSError) as error:
            silent = silent or why(error, "/proc/{}/environ".format(pid))
            continue
        for entry in entries:
            name, _, said = entry.partition(b"=")
            if name == b"SSH_CONNECTION" and said:
                return said.decode("ascii", "replace")
    if silent:
        raise HostError(silent)
    return ""


def is_over(pending: Dict[str, Any]) -> bool:
    """Whether its time, or a boot, has closed a window."""
    return bool(pending["boot"] != facts.boot_id() or (pending["writer"] is None and now() > pending["deadline"]))


def proven() -> int:
    """The generation that waits, once this connection has shown that the way in works. Raises TooLate if nothing waits
    any more, and HostError if this connection proves nothing. The caller holds the lock."""
    pending = store.pending()
    if pending is None:
        raise TooLate("nothing waits to be confirmed (see `hostguard history`)")
    if is_over(pending):
        keep_trying()  # if nobody goes back, somebody does from now on
        if pending["boot"] != facts.boot_id():
            raise TooLate("this host was restarted before anybody confirmed: it goes back (`hostguard history`)")
        raise TooLate("too late: nobody confirmed in time, and this host goes back (`hostguard history`)")
    _prove(pending["connection"])
    return int(pending["generation"])


def _prove(applied_over: str) -> None:
    """Raises HostError unless this is another connection than the one that applied, or a console."""
    if not applied_over:
        return
    within = next((name for _, name in ancestors() if name in MULTIPLEXERS), None)
    if within:
        raise HostError(
            "inside {} nobody can tell which connection this is: open a new one, and confirm outside of it".format(
                within.split(":")[0]
            )
        )
    try:
        mine = connection()
    except HostError as error:
        said = "which connection this is can't be told, which proves nothing: confirm in a shell of root's ({})"
        raise HostError(said.format(error)) from None
    if mine == applied_over:
        raise HostError(
            "this is the connection that applied it, which proves nothing: open a new one and confirm there"
        )
