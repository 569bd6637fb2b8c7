"""What every page for people has in common: its frame, its style, and that it needs nothing from elsewhere."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
THINNEST = 0.6
"""Percent of a bar: one failure among thousands is still seen."""

Part = TypeVar("Part")


def render(name: str, **values: Any) -> str:
    """The page of this name: its template in the frame, with the style of all pages and its own."""
    style = "".join((TEMPLATES / f"{each}.css").read_text(encoding="utf-8") for each in ("page", name))
    return (
        _environment()
        .get_template(f"{name}.html.j2")
        .render(
            **values,
            style=Markup(style),  # noqa: S704 - files of ours
            style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        )
    )


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def segments(count: Mapping[Part, int], first: Sequence[Part]) -> list[tuple[Part, float, float]]:
    """A bar's parts, in this order: where each begins and how wide it is, in percent."""
    shares = {part: max(count[part], sum(count.values()) * THINNEST / 100) for part in first if count[part]}
    begin, made = 0.0, []
    for part, share in shares.items():
        wide = 100 * share / sum(shares.values())
        made.append((part, round(begin, 3), round(wide, 3)))
        begin += wide
    return made
