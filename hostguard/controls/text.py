"""The texts of files that controls want, from the templates beside them."""

from __future__ import annotations

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

TEMPLATES = Path(__file__).parent / "templates"


class UnsafeValue(ValueError):
    """A value that would end its line: it could become a directive of its own."""


def one_line(value: object) -> object:
    """The last guard behind the policy's grammars: whatever is filled in stays within its line."""
    if isinstance(value, str) and any(ord(letter) < 0x20 or ord(letter) == 0x7F for letter in value):
        raise UnsafeValue(f"{value!r} holds a control character")
    return value


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        finalize=one_line,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - units and rules, not HTML
    )


def render(template: str, **values: object) -> str:
    """A template filled in. Raises UnsafeValue for a value with a control character in it."""
    return _environment().get_template(template).render(**values)
