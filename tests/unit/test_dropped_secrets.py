"""Which secrets go when a transaction is over: those that only what it ended had, and that the agent had fetched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from hostguard.host import dropped, store

APPLIED, FAILED, ROLLED_BACK, DONE = store.APPLIED, store.FAILED, store.ROLLED_BACK, store.DONE
Told = Sequence[tuple[str, dict[str, Any] | None]]
A = {"fetches": ["a/new"], "holds": ["a/new"]}
AB = {"fetches": ["a/new", "b/pem"], "holds": ["a/new", "b/pem"]}
B_OF_OTHERS = {"fetches": ["a/new"], "holds": ["a/new", "b/pem"]}
NONE: dict[str, Any] = {"fetches": [], "holds": []}
OLDER: dict[str, Any] = {}


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Told, list[int]], list[str]]:
    """The files that are left when the newest of these generations is over, and it has undone some."""
    monkeypatch.setattr(store, "GENERATIONS", str(tmp_path / "generations"))
    (tmp_path / "generations").mkdir()

    def over(told: Told, gone: list[int]) -> list[str]:
        for path in ("a/new", "b/pem", "theirs/new"):
            (tmp_path / path).parent.mkdir()
            (tmp_path / path).touch()
        for number, (status, tmpfs) in enumerate(told, 1):
            found = {what: [str(tmp_path / path) for path in paths] for what, paths in (tmpfs or {}).items()}
            wanted = {} if tmpfs is None else {"mount": {"kind": "mount", **found}}
            undid = {"gone": gone} if status == DONE else {}
            store.save({**store.new_record({}), "number": number, "status": status, "wanted": wanted, **undid})
        dropped.forget(len(told))
        return sorted(
            p.relative_to(tmp_path).as_posix() for p in tmp_path.glob("*/*") if p.parent.name != "generations"
        )

    return over


@pytest.mark.parametrize(
    ("told", "gone", "stay"),
    [
        ([(APPLIED, AB)], [], "ab"),
        ([(APPLIED, AB), (APPLIED, AB)], [], "ab"),
        ([(APPLIED, AB), (APPLIED, A)], [], "a"),
        ([(APPLIED, AB), (APPLIED, B_OF_OTHERS)], [], "ab"),
        ([(APPLIED, AB), (APPLIED, None)], [], ""),
        ([(APPLIED, AB), (APPLIED, NONE)], [], ""),
        ([(APPLIED, A), (FAILED, AB)], [], "a"),
        ([(APPLIED, A), (ROLLED_BACK, AB)], [], "a"),
        ([(FAILED, AB)], [], ""),
        ([(APPLIED, A), (APPLIED, AB), (DONE, A)], [2], "a"),
        ([(APPLIED, A), (APPLIED, AB), (APPLIED, A), (DONE, A)], [2, 3], "a"),
        ([(APPLIED, AB), (DONE, None)], [1], ""),
        # What went long ago is not asked about again: somebody else may have it by now.
        ([(APPLIED, AB), (APPLIED, A), (APPLIED, A)], [], "ab"),
        ([(APPLIED, OLDER), (FAILED, AB)], [], "ab"),
    ],
)
def test_what_nothing_needs_any_more_goes(
    left: Callable[[Told, list[int]], list[str]], told: Told, gone: list[int], stay: str
) -> None:
    assert left(told, gone) == [path for path in ("a/new", "b/pem", "theirs/new") if path[0] in stay + "t"]
