"""What goes back goes back to its end, whatever comes in between."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hostguard.host import lock, store, transaction, way_back
from hostguard.host.kinds import KINDS


def test_ctrl_c_waits_for_what_an_apply_undoes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "FOLDER", str(tmp_path))
    monkeypatch.setattr(store, "GENERATIONS", str(tmp_path / "generations"))
    monkeypatch.setattr(lock, "LOCK", str(tmp_path / "lock"))
    monkeypatch.setattr(transaction.surroundings, "shared_with_services", lambda: None)
    done = []

    def recover() -> list[int]:
        os.kill(os.getpid(), signal.SIGINT)
        done.append("all of it")
        return []

    monkeypatch.setattr(transaction, "recover", recover)
    options = {"confirm_within": 0.0, "restart": False, "check": False}
    # What runs in the background of a shell ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            transaction.apply({"resources": [], "areas": None, "policy": {}}, options, lambda _: None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert done == ["all of it"]


def test_where_no_program_can_be_started_the_other_steps_are_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    monkeypatch.setattr(KINDS["sysctl"], "restore", lambda members, _: made.extend(r["id"] for r in members))

    def fails(_written: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(way_back, "reload_for", fails)
    path = str(tmp_path / "unit")
    file = {"id": "f", "kind": "file", "control": "a.b", "path": path}
    parameter = {"id": "s", "kind": "sysctl", "control": "a.c", "key": "k"}
    captured = {**KINDS["file"].capture([file]), "s": {}}
    said = way_back.go_back([file, parameter], captured)
    assert (made, said) == (["s"], ["[Errno 11] Resource temporarily unavailable"])


def test_who_took_the_lock_meanwhile_is_no_orphan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "lock"
    monkeypatch.setattr(lock, "LOCK", str(place))
    place.write_text("999999999 1", encoding="ascii")
    with place.open(encoding="ascii"):  # a program that the one that is gone has left
        child = os.fork()
        if child == 0:
            signal.pause()
    try:
        assert lock.orphans() == [child]
        holders = lock._holders

        def one_more(there: os.stat_result) -> list[int]:
            place.write_text(f"{os.getpid()} {lock.started(os.getpid())}", encoding="ascii")
            return holders(there)

        monkeypatch.setattr(lock, "_holders", one_more)
        assert lock.orphans() == []
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
