"""A rollback of this host, as its command asks for it."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from hostguard.cli import rollback
from hostguard.cli.main import app
from hostguard.target import local


def test_it_goes_to_the_generation_that_was_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window may end between the question and its answer, and one step back then leads further."""
    asked = []

    def answers(to: int | None, options: dict[str, Any], _progress: object) -> dict[str, Any]:
        asked.append((to, options["check"]))
        told = {"generation": 2, "to": 2, "changes": [], "gone": [3], "undone": [], "owed": [], "unseen": "",
                "resources": [], "policy": None}  # fmt: skip
        return {"outcome": "would change" if options["check"] else "rolled back", **told}

    monkeypatch.setattr(local, "rollback", answers)
    monkeypatch.setattr(rollback, "need_root", lambda _: None)
    done = CliRunner().invoke(app, ["rollback", "--yes", "--confirm-within", "0"])
    assert (done.exit_code, asked) == (0, [(None, True), (2, False)]), done.output
