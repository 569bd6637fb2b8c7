"""What another account chose (a name of its process, a path of its socket) makes no line of its own in what the kernel
tells of it."""

from __future__ import annotations

import ast
import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hostguard.host
from hostguard.host.evidence import sockets
from hostguard.host.facts import account_of

ENDS = ["\n", "\r", "\x1c", "\x85", "\u2028"]
ROW = "00000000deadbeef: 00000002 00000000 00010000 0001 01 {} {}"


@contextmanager
def listens(path: Path, comm: str = "it") -> Iterator[int]:
    """A process of this name that takes connections at the path; its inode."""
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            Path("/proc/self/comm").write_text(comm)
            server = socket.socket(socket.AF_UNIX)
            server.bind(os.fspath(path))
            server.listen()
            os.write(told, str(os.fstat(server.fileno()).st_ino).encode())
            os.close(ready)
            os.read(os.open(path.parent / "end", os.O_RDONLY), 1)
        finally:
            os._exit(0)
    try:
        os.close(told)
        yield int(os.read(ready, 20))
    finally:
        os.close(ready)
        os.close(os.open(path.parent / "end", os.O_WRONLY))
        os.waitpid(child, 0)


def bind(odd: socket.socket, path: str) -> None:
    """At a relative path, with the folders that a line in it happens to name."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    odd.bind(path)


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a short name: the path of a socket holds 107 bytes."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.mkfifo(f"{folder}/end")
        monkeypatch.chdir(folder)
        yield Path(folder)


@pytest.mark.parametrize("end", ENDS)
def test_a_socket_hides_no_other(place: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise FileNotFoundError(errno.ENOENT, "no unix_diag")

    served, other = place / "a", place / "b"
    with listens(served) as inode, socket.socket(socket.AF_UNIX) as odd:
        bind(odd, f"x{end}{ROW.format(inode, other)}")
        odd.listen()
        found = {path for path, _ in sockets.answering([str(served), str(other)])}
        monkeypatch.setattr(sockets, "unix_sockets", none)
        by_table = {path for path, _ in sockets.answering([str(served), str(other)])}
    assert found == {str(served)}
    assert str(served) in by_table


@pytest.mark.parametrize("end", ENDS)
def test_a_socket_makes_no_evidence_unreadable(place: Path, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise FileNotFoundError(errno.ENOENT, "no unix_diag")

    monkeypatch.setattr(sockets, "unix_sockets", none)
    served = place / "a"
    with listens(served), socket.socket(socket.AF_UNIX) as odd:
        bind(odd, f"x{end}a b c NOT-HEX e f 7 {served}")
        odd.listen()
        assert [path for path, _ in sockets.answering([str(served)])] == [str(served)]


@pytest.mark.parametrize("end", ENDS)
def test_a_name_of_a_process_is_no_account(place: Path, end: str) -> None:
    served = place / "a"
    with listens(served, comm=f"{end}Uid:\t0\t7\t"):
        found = sockets.unix_listeners({"paths": [str(served)]})
    assert found == {str(served): [account_of(os.geteuid())]}


def test_who_reads_lines_says_what_ends_them() -> None:
    """Python's own reading takes \\r for a line's end, which neither the kernel nor the C library does."""
    folder = Path(hostguard.host.__file__).parent
    silent = [
        f"{path.relative_to(folder)}:{call.lineno}"
        for path in folder.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "open"
        and not any(isinstance(each, ast.Constant) and set("bwax") & set(str(each.value)) for each in call.args[1:2])
        and "newline" not in {each.arg for each in call.keywords}
    ]  # fmt: skip
    assert silent == []
