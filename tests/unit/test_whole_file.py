"""A report's file is there whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from hostguard.cli.whole_file import replace


def test_a_reader_has_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "audit.prom"
    path.write_text("old")
    with path.open() as reader:
        replace(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_keeps_its_mode_and_a_new_one_follows_the_umask(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("")
    old.chmod(0o604)
    before = os.umask(0o027)
    try:
        for path in (old, new):
            replace(path, "x")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (old, new)] == [0o604, 0o640]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    link.symlink_to(target)
    replace(link, "x")
    assert link.is_symlink()
    assert target.read_text() == "x"


def test_what_is_no_file_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    replace(pipe, "x")
    assert os.read(reading, 10) == b"x"
    os.close(reading)
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_what_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "audit.prom"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        replace(path, "\ud800")
    with pytest.raises(OSError, match="No such file"):
        replace(tmp_path / "none" / "audit.prom", "x")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
