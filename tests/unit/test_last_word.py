"""The word that ends a transaction, on a disk that takes no more."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hostguard.host import store


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> store.Record:
    monkeypatch.setattr(store, "GENERATIONS", str(tmp_path))
    record = {**store.new_record({}), "wanted": {}}
    store.save(record)
    return record


def full(*_arguments: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_word_that_everybody_reads_stands(record: store.Record, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the host goes back, can't say so, and a record tells of rules that are gone."""
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        store.keep(record)
    kept = store.current()
    assert kept is not None
    assert (record["status"], kept["status"]) == (store.APPLIED, store.APPLIED)


def test_a_word_that_nobody_reads_is_none(record: store.Record, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as disk:
        disk.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="No space left"):
            store.keep(record)
    assert record["status"] == store.WRITING
    assert [each["status"] for each in store.records()] == [store.WRITING]


def test_a_record_of_an_older_hostguard_has_its_word_with_its_file(
    record: store.Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(store.GENERATIONS) / "000001.json"
    path.write_text(path.read_text(encoding="ascii").replace(store.HEAD.decode(), '{ "status": "'), encoding="ascii")
    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            store.keep(record)
    assert record["status"] == store.WRITING
    store.keep(record)
    assert [each["status"] for each in store.records()] == [store.APPLIED]
