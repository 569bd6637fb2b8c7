"""A file is written whole or not at all, and what is as it was is not written again."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hostguard.host import kept_file
from hostguard.host.kinds import file
from hostguard.host.resource import HostError
from tests.lab.process import call


def place(path: Path, content: bytes = b"ours") -> None:
    kept_file.put(str(path), content, 0o640, os.getuid(), os.getgid())


def test_what_is_as_it_was_is_not_written(tmp_path: Path) -> None:
    kept, link, absent = (tmp_path / name for name in ("kept", "link", "absent"))
    kept.write_bytes(b"theirs")
    link.symlink_to("kept")
    saved = [kept_file.snapshot(str(path)) for path in (kept, link, absent)]
    before = [path.lstat() for path in (kept, link, tmp_path)]
    for each in saved:
        kept_file.put_back(each)
    after = [path.lstat() for path in (kept, link, tmp_path)]
    assert [(s.st_ino, s.st_ctime_ns) for s in before] == [(s.st_ino, s.st_ctime_ns) for s in after]


@pytest.mark.parametrize("call_of_the_system", ["rename", "fsync", "fchown", "mkdir"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_of_the_system: str, error: BaseException
) -> None:
    (tmp_path / "a").mkdir()
    old = tmp_path / "old"
    old.write_bytes(b"theirs")
    calls = []
    mkdir = os.mkdir

    def fails(*arguments: Any) -> None:
        calls.append(arguments)
        if call_of_the_system != "mkdir" or len(calls) > 1:
            raise error
        mkdir(*arguments)

    monkeypatch.setattr(os, call_of_the_system, fails)
    for path in (tmp_path / "a/b/c/new", old):
        if call_of_the_system != "mkdir" or path != old:
            with pytest.raises(type(error)):
                place(path)
    assert calls
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == ["a", "old"]
    assert old.read_bytes() == b"theirs"


def test_a_folder_that_others_use_by_now_stays(tmp_path: Path) -> None:
    before = kept_file.snapshot(str(tmp_path / "a/b/new"))
    place(tmp_path / "a/b/new")
    (tmp_path / "a/theirs").touch()
    kept_file.put_back(before)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "theirs"]


def test_every_name_is_on_the_disk_before_we_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def told(descriptor: int) -> None:
        synced.append(os.path.relpath(Path(f"/proc/self/fd/{descriptor}").readlink(), tmp_path))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", told)
    before = kept_file.snapshot(str(tmp_path / "a/b/new"))
    place(tmp_path / "a/b/new")
    assert synced == [".", "a", "a/b/.new.hostguard", "a/b"]
    synced.clear()
    kept_file.put_back(before)
    assert synced == ["a/b", "a", "."]
    synced.clear()
    (tmp_path / "link").symlink_to("x")
    before = kept_file.snapshot(str(tmp_path / "link"))
    place(tmp_path / "link")
    kept_file.put_back(before)
    assert synced == [".link.hostguard", ".", "."]
    assert (tmp_path / "link").readlink() == Path("x")


# As root of namespaces of its own, where a file is mounted by itself, as engines do with /etc/resolv.conf.
MOUNTED = """
import json, os, subprocess, sys
from hostguard.host import kept_file
from hostguard.host.kinds import file
from hostguard.host.snapshot import differ, look
def sh(*argv):
    subprocess.run(argv, check=True)
os.chdir(sys.argv[1])
here = os.getcwd()
for name in ("ours", "of-the-engine", "shut"):
    with open(name, "w") as made:
        made.write("longer than what is written")
sh("mount", "--bind", "of-the-engine", "ours")
before = kept_file.snapshot(here + "/ours")
kept_file.put(here + "/ours", b"new", 0o644, 0, 0)
there = [open("ours").read(), open("of-the-engine").read(), sorted(os.listdir("."))]
kept_file.put_back(before)
there.append(open("of-the-engine").read())
os.makedirs("folder/below")
open("folder/file", "w").close()
sh("mount", "--bind", "folder", "folder")
sh("mount", "-o", "remount,bind,ro", "folder")
sh("mount", "--bind", "shut", "shut")
sh("mount", "-o", "remount,bind,ro", "shut")
wanted = [{"id": path, "kind": "file", "path": here + "/" + path, "content": "", "mode": "0644"}
          for path in ("ours", "shut", "folder/file", "folder/new", "folder/below/x/new", "new")]
seen = look(wanted)
blocked = {r["id"]: sorted({d.blocked for d in differ(r, seen[r["id"]])}) for r in wanted}
print(json.dumps([there, blocked]))
"""


@pytest.mark.needs("namespaces")
def test_a_file_that_is_mounted_by_itself_or_can_not_be_written(tmp_path: Path) -> None:
    fence = ["unshare", "--user", "--map-root-user", "--mount", "--"]
    said = call([*fence, sys.executable, "-c", MOUNTED, str(tmp_path)]).stdout
    there, blocked = json.loads(said)
    assert there == ["new", "new", ["of-the-engine", "ours", "shut"], "longer than what is written"]

    def shut(place: str) -> list[str]:
        return [f"{tmp_path}/{place} is on a file system that is mounted read-only: mount it for writing"]

    assert blocked == {
        "ours": [""],
        "new": [""],
        "shut": shut("shut"),
        "folder/file": [],
        "folder/new": shut("folder"),
        "folder/below/x/new": shut("folder/below"),
    }


def test_what_became_a_folder_is_told(tmp_path: Path) -> None:
    before = kept_file.snapshot(str(tmp_path / "x"))
    (tmp_path / "x").mkdir()
    with pytest.raises(HostError, match="is a directory: move it away"):
        kept_file.put_back(before)


def test_files_of_several_generations_go_back_with_the_folder_of_the_first(tmp_path: Path) -> None:
    """The second one found the folder that the first one had made for its own."""
    saved = {}
    for name in ("first", "second"):
        path = tmp_path / "made/for" / name
        saved[name] = kept_file.snapshot(str(path))
        place(path)
    resources = [dict(file.resource("c", saved[name]["path"], ""), id=name) for name in saved]
    file.restore(resources, saved)
    assert list(tmp_path.iterdir()) == []
    now = file.capture(resources)
    assert all(file.as_before(resource, saved[resource["id"]], now[resource["id"]]) for resource in resources)


@pytest.mark.parametrize("call_of_the_system", ["fsync", "utime"])
def test_a_file_that_is_said_to_be_as_before_has_its_old_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call_of_the_system: str
) -> None:
    """Whichever single call fails on the way back: what is told of the file is true of its times too."""
    path = tmp_path / "theirs"
    path.write_bytes(b"theirs")
    os.utime(path, ns=(1_000_000_000, 2_000_000_000))
    before = kept_file.snapshot(str(path))
    works = getattr(os, call_of_the_system)
    for at in range(1, 4):
        path.write_bytes(b"ours")
        calls: list[int] = []

        def once(*arguments: Any, at: int = at, calls: list[int] = calls, **named: Any) -> None:
            calls.append(1)
            if len(calls) == at:
                raise OSError(5, "Input/output error")
            works(*arguments, **named)

        monkeypatch.setattr(os, call_of_the_system, once)
        with contextlib.suppress(OSError):
            kept_file.put_back(before)
        monkeypatch.setattr(os, call_of_the_system, works)
        same = path.read_bytes() == b"theirs" and path.stat().st_mtime_ns == 2_000_000_000
        assert file.as_before({}, before, kept_file.snapshot(str(path))) is same
        kept_file.put_back(before)
        assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"theirs", 2_000_000_000)


def test_an_old_file_with_a_new_time_is_not_as_before(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.write_bytes(b"theirs")
    before = kept_file.snapshot(str(path))
    os.utime(path, ns=(1_000_000_000, 2_000_000_000))
    assert not file.as_before({}, before, kept_file.snapshot(str(path)))
    kept_file.put_back(before)
    assert file.as_before({}, before, kept_file.snapshot(str(path)))


@pytest.mark.parametrize("there", [True, False])
def test_what_a_cut_short_write_left_beside_a_file_is_not_as_before(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "theirs"
    if there:
        path.write_bytes(b"theirs")
    before = kept_file.snapshot(str(path))
    (tmp_path / ".theirs.hostguard").write_bytes(b"half")
    assert not file.as_before({}, before, kept_file.snapshot(str(path)))
    kept_file.put_back(before)
    assert file.as_before({}, before, kept_file.snapshot(str(path)))
    assert [each.name for each in tmp_path.iterdir()] == ["theirs"] * there


def test_folders_that_another_program_makes_of_a_file_go_with_it(tmp_path: Path) -> None:
    place(tmp_path / "theirs/file")
    made = [str(tmp_path / name) for name in ("run/inner", "run", "theirs", "kept")]
    conf = file.resource("c", str(tmp_path / "conf"), "", makes=made)
    before = file.capture([conf])
    place(tmp_path / "conf")
    for folder in ("run/inner", "kept"):
        (tmp_path / folder).mkdir(parents=True)
    place(tmp_path / "kept/by-somebody")
    (tmp_path / "conf").unlink()
    as_before = file.as_before(conf, before[conf["id"]], file.capture([conf])[conf["id"]])
    file.restore([conf], before)
    assert not as_before
    assert file.as_before(conf, before[conf["id"]], file.capture([conf])[conf["id"]])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "theirs"]


def test_what_is_removed_in_the_folder_of_an_account_is_not_behind_a_link_of_its_making(tmp_path: Path) -> None:
    place(tmp_path / "elsewhere/file")
    (tmp_path / "link").symlink_to("elsewhere")
    for name in ("link/file", "nowhere/file", "elsewhere/none", "elsewhere"):
        kept_file.remove_within(str(tmp_path / name))
    assert (tmp_path / "elsewhere/file").exists()
    for name in ("elsewhere/file", "elsewhere", "link"):
        kept_file.remove_within(str(tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_what_speaks_for_files_waits_for_them_alone(tmp_path: Path) -> None:
    mark, one, other = (tmp_path / name for name in ("mark", "one", "other"))
    wanted = [file.resource("c", str(mark), "", speaks_for=[str(one)]), file.resource("c", str(one), ""),
              file.resource("c", str(other), "")]  # fmt: skip
    before = file.capture(wanted)
    for path in (mark, other):
        place(path)
    one.mkdir()
    with pytest.raises(HostError, match="one is a directory"):
        file.restore(wanted, before)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    one.rmdir()
    file.restore(wanted, before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("back", [False, True])
def test_what_speaks_for_files_is_not_there_while_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """Or a process that a boot starts in between has the files of two generations, and says that it has one's."""
    mark, one, two = (tmp_path / name for name in ("mark", "one", "two"))
    files = [file.resource("c", str(path), "ours") for path in (one, two)]
    wanted = [file.resource("c", str(mark), "ours", speaks_for=[str(one), str(two)]), *files]
    for path in (mark, one, two):
        path.write_bytes(b"before")
    captured = file.capture(wanted)
    seen, put = [], kept_file.put

    def told(path: str, content: bytes, mode: int, _uid: int, _gid: int, *times: Any) -> None:
        seen.append((Path(path).name, mark.exists()))
        put(path, content, mode, os.getuid(), os.getgid(), *times)

    monkeypatch.setattr(kept_file, "put", told)
    if back:
        file.write(wanted, {})
    seen.clear()
    before = [path.read_bytes() for path in (mark, one, two)]
    file.restore(wanted, captured) if back else file.write(wanted, {})
    assert sorted(seen[:2]) == [("one", False), ("two", False)]
    assert seen[2:] == [("mark", False)]
    assert [path.read_bytes() for path in (mark, one, two)] != before
    seen.clear()
    file.restore(wanted, captured)
    assert seen == [] if back else len(seen) == 3, "what is as it was is left alone"


def test_extended_attributes_go_back(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    path.write_bytes(b"theirs")
    try:
        os.setxattr(path, "user.of", b"them")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    before = kept_file.snapshot(str(path))
    place(path)
    assert not file.as_before({}, before, kept_file.snapshot(str(path)))
    kept_file.put_back(before)
    assert file.as_before({}, before, kept_file.snapshot(str(path)))
    assert os.getxattr(path, "user.of") == b"them"


def test_what_is_a_mount_by_now_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "theirs"
    path.write_bytes(b"theirs")
    before = kept_file.snapshot(str(path))
    path.write_bytes(b"another file")
    monkeypatch.setattr(kept_file, "mounted", lambda _: {"type": "tmpfs"})
    with pytest.raises(HostError, match="umount"):
        kept_file.put_back(before)
    assert path.read_bytes() == b"another file"
    assert not file.as_before({}, before, kept_file.snapshot(str(path)))
