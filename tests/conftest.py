"""Makes `tests` importable from every test, gives all of them the lab, and tells the score of what was broken."""

from typing import Any

import pytest
from hypothesis import settings

from tests.breaks import score
from tests.lab.fixture import lab, lab_host, own_host  # noqa: F401

# A machine that others slow down makes no test fail.
settings.register_profile("hostguard", deadline=None)
settings.load_profile("hostguard")

pytest_plugins = ["tests.needs", "tests.untouched", "tests.schedule", "tests.lab.again"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["breaks"] = (score.tried, score.noticed)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    tried, noticed = getattr(node, "workeroutput", {}).get("breaks", ((), ()))
    score.tried += tried
    score.noticed += noticed


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if line := score.line():
        terminalreporter.write_line(line)
