"""Reports for people and machines: a file for each format. A new format is a new file and a name here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hostguard.result import Report


class Format(Protocol):
    def __call__(self, report: Report, *, colour: bool, width: int) -> str: ...


NAMES = ("table", "json", "junit", "sarif", "html", "markdown", "prometheus", "journal")


def render(name: str, report: Report, *, colour: bool, width: int) -> str:
    """A report in one of the formats. `colour` and `width` (in columns) are for those that a person reads."""
    from hostguard.report.text import printable

    module = import_module(f"hostguard.report.{name}")
    made: Format = module.render
    return made(printable(report), colour=colour, width=width)
