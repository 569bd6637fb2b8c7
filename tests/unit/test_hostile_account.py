"""An account of the host without any right tries to keep root waiting, to fill its memory, to hide, or to be given what
is not its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostguard.host import cgroup, children, lock, login, plain_file, proc, program, watcher, window
from hostguard.host.attack import fire
from hostguard.host.attack.shot import Shot
from hostguard.host.children import Call, each_aside, together
from hostguard.host.evidence import collect, files, processes, secrets, sockets
from hostguard.host.kinds import process
from hostguard.host.resource import HostError
from hostguard.host.whose import unit_of
from tests.patience import slowness, whole

SOMEBODY = 12345
BECOME = ["setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups", "--bounding-set=-all",
          "--inh-caps=-all"]  # fmt: skip


@contextlib.contextmanager
def runs(script: str, *before: str) -> Iterator[str]:
    """A program that lives as long as we look at it; its first line."""
    argv = [*before, "/usr/bin/python3" if before else sys.executable, "-I", "-c", textwrap.dedent(script)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        assert child.stdout is not None
        try:
            yield child.stdout.readline().strip()
        finally:
            os.killpg(child.pid, signal.SIGKILL)


def seconds(of: float) -> float:
    return of * slowness()


# Who keeps us waiting.


def test_who_keeps_us_waiting_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    us = os.getpid()

    def look(pid: int) -> int:
        proc.looking_at(pid)
        if pid == us:
            time.sleep(600)
        return pid

    first, then = float(whole(2)), float(whole(1))
    monkeypatch.setattr(children, "LOOKING", first)
    monkeypatch.setattr(children, "AGAIN", then)
    monkeypatch.setattr(children, "_kept_waiting", False)
    waited, other = each_aside(look, [us, 1])
    assert other == {"said": 1}
    said = f"process {us} ({proc.command(us)}) kept us waiting for {{:.0f}} s: see what it is, and end it"
    assert waited == {"unreadable": said.format(first)}
    (again,) = each_aside(look, [us])
    assert again == {"unreadable": said.format(then)}


def test_many_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "AT_ONCE", 3)
    assert each_aside(lambda pid: pid, list(range(8))) == [{"said": number} for number in range(8)]


def test_who_looks_is_not_seen() -> None:
    (found,) = each_aside(lambda _: [os.getpid(), list(proc.pids())], [None])
    looker, seen = found["said"]
    assert (looker in seen, os.getpid() in seen, os.getpid() in proc.pids()) == (False, True, True)


HOLDS = """
import ctypes, os, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
os.mkdir("/mnt/here/m")
fuse = os.open("/mnt/fuse", os.O_RDWR)
how = f"fd={fuse},rootmode=40000,user_id=0,group_id=0"
if libc.mount(b"x", b"/mnt/here/m", b"fuse", 0, how.encode()):
    print("no fuse:", os.strerror(ctypes.get_errno()), flush=True)
    sys.exit()
def attributes(inode, mode):
    return struct.pack("=QQQQQQIIIIIIIIII", inode, 4096, 8, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
def serve():
    while True:
        asked = os.read(fuse, 1 << 17)
        _, what, unique, node, *_ = struct.unpack_from("=IIQQIIII", asked)
        def answer(body=b"", error=0):
            os.write(fuse, struct.pack("=IiQ", 16 + len(body), error, unique) + body)
        if what == 26:
            answer(struct.pack("=IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 10, 65536, 1, 1, 0, 0)[:64])
        elif what == 1:
            answer(struct.pack("=QQQQII", 2, 1, 3600, 3600, 0, 0) + attributes(2, 0o100644))
        elif what == 3:
            answer(struct.pack("=QII", 3600, 0, 0) + attributes(node, 0o40755 if node == 1 else 0o100644))
        elif what in (14, 27):
            answer(struct.pack("=QII", 1, 0, 0))
        elif what == 25:
            print(child, flush=True)  # close() in execve(): it is never answered
        elif what not in (2, 36, 42):
            answer(b"", -38)
threading.Thread(target=serve, daemon=True).start()
child = os.fork()
if child == 0:
    os.close(fuse)
    os.open("/mnt/here/m/f", os.O_RDONLY | os.O_CLOEXEC)
    os.execv("/bin/sleep", ["sleep", "600"])
time.sleep(600)
"""


@pytest.fixture
def holder() -> Iterator[int]:
    """A process of another account that keeps waiting whoever reads what it has open, and what it is."""
    own = "mount -t tmpfs none /mnt && mknod -m 666 /mnt/fuse c 10 229 && mkdir -m 777 /mnt/here && exec "
    own += " ".join([*BECOME, "unshare", "--user", "--map-root-user", "--mount", "--", '"$@"'])
    with runs(HOLDS, "unshare", "--mount", "--", "sh", "-c", own, "sh") as said:
        if not said or said.startswith("no fuse"):
            pytest.skip(f"no file system of an account's own here: {said or 'no device of it'}")
        # By the number that it has in our namespace of processes, which is its own too.
        yield int(said)


@pytest.mark.needs("root")
def test_a_process_that_never_ends_its_execve(holder: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lock, "LOCK", str(tmp_path / "lock"))
    (tmp_path / "lock").write_text("1000000 1".ljust(lock.LOCK_LENGTH))  # as an apply that has ended left it
    begun = time.monotonic()
    watcher.end_orphans()
    assert lock.started(holder) == ""  # a number that was used again, say
    assert time.monotonic() - begun < seconds(10)

    monkeypatch.setattr(children, "LOOKING", 3.0)
    monkeypatch.setattr(children, "_kept_waiting", False)
    monkeypatch.setattr(cgroup, "processes", lambda _: [holder])
    shown = {"one.service": {"ControlGroup": "/x", "MainPID": "0"}}
    seen = process._observe([{"id": "r", "unit": "one.service"}], shown)["r"]
    assert f"process {holder} (" in seen.reason
    said = collect({"all": {"collect": "packet-sockets"}})["all"]
    assert f"process {holder} (" in said["unreadable"]
    monkeypatch.setattr(window, "ancestors", lambda: [(holder, "sh")])
    with pytest.raises(HostError, match=f"process {holder} \\("):
        window.connection()
    assert time.monotonic() - begun < seconds(30)


# Who gets at our lock.


@pytest.mark.needs("root")
def test_no_program_of_another_account_has_the_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def has(argv: list[str], **how: Any) -> bool:
        return "/lock" in program.run([*argv, "sh", "-c", "ls -l /proc/self/fd"], **how).stdout

    def of_child(_: None) -> list[str]:
        return [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]

    descriptor = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    monkeypatch.setattr(program, "held", [descriptor])
    assert has([])
    assert not has(BECOME, ours=False)
    for account in (None, "nobody"):
        (found,) = together([Call(account, of_child, None)], 10)
        assert not [path for path in found["said"] if path.endswith("/lock")]
    os.fstat(descriptor)  # and we have it still
    os.close(descriptor)


# Who fills our memory, or our time.

ENDLESS = """
    import ctypes, struct, time
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.sbrk.restype = ctypes.c_void_p
    size = 1 << 40
    at = libc.mmap(None, size, 1, 0x4022, -1, 0)  # PROT_READ; MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE
    fields = open("/proc/self/stat").read().rpartition(")")[2].split()
    code, end, stack, data, data_end, heap = (int(fields[n]) for n in (23, 24, 25, 42, 43, 44))
    whole = struct.pack("=11QQIi", code, end, data, data_end, heap, libc.sbrk(0), stack, at, at + size, at, at + size,
                        0, 0, -1)
    given = ctypes.create_string_buffer(whole, len(whole))
    refused = libc.prctl(35, 14, ctypes.byref(given), len(whole), 0)  # PR_SET_MM, PR_SET_MM_MAP
    import os
    print(os.getpid(), ctypes.get_errno() if refused else "", flush=True)
    time.sleep(600)
"""


def test_arguments_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with runs(ENDLESS) as said:
        pid, *refused = said.split()
        if refused:
            pytest.skip(f"this kernel takes no map of memory from us: errno {refused}")
        for read in (proc.arguments, proc.environment):
            with pytest.raises(HostError, match=f"/proc/{pid}/.*: more than 8388608 bytes"):
                read(int(pid))
        monkeypatch.setattr(window, "ancestors", lambda: [(int(pid), "sh")])
        window._prove("")  # it was applied at a console
        with pytest.raises(HostError, match=f"which connection this is can't be told.*/proc/{pid}/environ"):
            window._prove("10.77.0.1 50001 10.77.0.11 22")
        assert window.connection_if_told() == ""


def test_links_that_lead_on_without_end(tmp_path: Path) -> None:
    """Where a socket was bound the account puts links in its way, afterwards."""
    with socket.socket(socket.AF_UNIX) as server:
        (tmp_path / "q").mkdir()
        os.chdir(tmp_path)
        server.bind("q/s")
        server.listen()
        (tmp_path / "q").rename(tmp_path / "away")
        for number in range(1200):
            (tmp_path / f"{number}").symlink_to(tmp_path / f"{number + 1}")
        (tmp_path / "q").symlink_to(tmp_path / "0")
        os.chdir("/")
        assert collect({"it": {"collect": "unix-listeners", "paths": ["/run/nobody"]}})["it"] == {"said": {}}
    (entry,) = (each for each in files.tree({"path": str(tmp_path)}) if each["path"] == str(tmp_path / "q"))
    assert entry["leads_out"] == ""
    with pytest.raises(OSError, match="symbolic links"):
        secrets.secret_files({"paths": [str(tmp_path / "q")]})


def test_a_socket_that_was_bound_by_another_name() -> None:
    assert set(sockets._ways("/run/nscd/socket")) == {"/run/nscd/socket", "/var/run/nscd/socket"}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda top: [((top / "d").mkdir(), os.chdir("d")) for _ in range(300)], id="deep"),
        pytest.param(lambda top: [(top / str(number)).touch() for number in range(files.MOST + 1)], id="many"),
    ],
)
def test_a_folder_without_end(tmp_path: Path, make: Any) -> None:
    os.chdir(tmp_path)
    make(Path())
    os.chdir("/")
    with pytest.raises(HostError, match="more than 10,000 files and folders are below it, or more than 16 levels"):
        files.tree({"path": str(tmp_path)})


def test_notes_are_plain_files(tmp_path: Path) -> None:
    def notes() -> dict[str, Any]:
        paths = [str(tmp_path / name) for name in ("one", "two", "none")]
        return collect({"notes": {"collect": "notes", "paths": paths}})["notes"]

    (tmp_path / "one").write_text("1" + "x" * 5000)
    assert notes() == {"said": {str(tmp_path / "one"): "1" + "x" * (files.LONGEST_NOTE - 1)}}
    for make in (lambda path: path.symlink_to("/etc/shadow"), lambda path: path.symlink_to("/proc/kmsg"), os.mkfifo):
        make(tmp_path / "two")
        assert str(tmp_path / "two") in notes()["unreadable"]
        (tmp_path / "two").unlink()
    for number in range(files.MOST + 1):
        (tmp_path / f"{number}").touch()  # as many as its account likes, and they sort before
    assert list(notes()["said"]) == [str(tmp_path / "one")]


def test_a_shot_that_is_never_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire, "ANSWERED", 1.0)
    shooter = fire.Shooter(os.geteuid())
    os.kill(shooter._child, signal.SIGSTOP)  # as another process of the account may
    try:
        for _ in range(2):
            answer = shooter.fire(Shot("udp", "::1", 9, 17))
            assert (answer["works"], answer["refused"]) == (
                False, "no process can become this account, or it did not answer",
            )  # fmt: skip
    finally:
        shooter.end()


# Who hides, or takes another's name.

LEADERLESS = """
    import ctypes, os, socket, threading, time
    open("/proc/self/comm", "w").write("leaderless")
    server = socket.socket(socket.AF_UNIX)
    server.bind("door")
    server.listen()
    def serve():
        time.sleep(0.5)
        while open("/proc/self/status").read().partition("State:")[2].split()[0] not in "ZX":
            time.sleep(0.01)
        print(os.getpid(), flush=True)
        time.sleep(600)
    threading.Thread(target=serve).start()
    ctypes.CDLL(None).syscall(60 if os.uname().machine == "x86_64" else 93, 0)  # exit(2): of this thread alone
"""


def test_a_process_that_its_first_thread_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEFT", "said")
    with runs(LEADERLESS.replace('"door"', f'"{tmp_path}/door"')) as pid:
        assert len(list(Path(f"/proc/{pid}/task").iterdir())) == 2
        found = dict(sockets.answering([str(tmp_path / "door")]))
        assert found == {str(tmp_path / "door"): int(pid)}
        assert proc.files_open(int(pid)) >= 4  # the three of any, and the socket
        assert b"LEFT=said" in proc.environment(int(pid))
        asked = {"names": ["leaderless"], "arguments": "-c"}
        assert processes.processes(asked) == {"leaderless": [["-c"]]}


@pytest.mark.parametrize(
    ("cgroup_", "unit"),
    [
        ("/system.slice/envoy.service", "envoy.service"),
        ("/system.slice/docker.service/x/y.scope", "y.scope"),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice/sshd.service", "user@1000.service"),
        ("/", ""),
    ],
)
def test_the_unit_of_a_cgroup(cgroup_: str, unit: str) -> None:
    assert unit_of(cgroup_) == unit


# Who is given what is not its own.


@pytest.mark.needs("root")
@pytest.mark.parametrize(
    ("mode", "owner", "made", "by"),
    [
        (0o755, 0, False, ""),
        (0o755, SOMEBODY, False, "top"),
        (0o775, 0, False, "top"),
        (0o1777, 0, False, "top"),
        (0o1777, 0, True, ""),
    ],
)
def test_a_path_that_another_account_may_change(tmp_path: Path, mode: int, owner: int, made: bool, by: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    if made:
        (top / "below").mkdir()
    top.chmod(mode)
    os.chown(top, owner, owner)
    wanted = str(top / by) if by else ""
    assert plain_file.changeable(str(top / "below" / "file")) == (str(top) if by else wanted)


@pytest.mark.needs("root")
def test_no_login_is_written_where_another_account_decides_where(tmp_path: Path) -> None:
    os.chown(tmp_path, SOMEBODY, SOMEBODY)
    wanted = {"path": str(tmp_path / "new/secret-id"), "content": "x", "spent": True}
    with pytest.raises(HostError, match=f"another account may put something else in its way, in {tmp_path}: name a"):
        login.keep({"account": "nobody", "files": [wanted], "check": False, "unit": "none.service"})
    assert not (tmp_path / "new").exists()
