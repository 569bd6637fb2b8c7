"""Makes `tests` importable from every test, gives all of them the lab, and tells the score of what was broken."""

from typing import Any

from tests.breaks import score
from tests.lab.fixture import lab, lab_host  # noqa: F401


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if line := score.line():
        terminalreporter.write_line(line)
