"""One control in full, for a person at a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from hostguard.catalogue.entries import Entry
from hostguard.catalogue.standards import ASKS
from hostguard.control import ARTICLE_TITLE, Reference

HEAD = 14
"""Columns of what stands before each text."""
LEAST_BODY = 30
"""Columns of a text however narrow the terminal is."""


def render(entry: Entry, width: int) -> str:
    control = entry.control
    said = [_reference(reference) for reference in control.references]
    if control.beyond_article:
        said.append((f"not by the article: {control.beyond_article}", ""))
    said.append((f"(the article: {ARTICLE_TITLE})", ""))
    sections: tuple[tuple[str, list[tuple[str, str]]], ...] = (
        ("must be true", [(control.title, "")]),
        ("severity", [(f"{control.severity}, {entry.fixed}", "")]),
        ("why", [(control.rationale, "")]),
        ("read", [(line, "") for line in entry.read]),
        ("reached", [(line, "") for line in entry.reach]),
        ("undone", [(line, "") for line in entry.undo]),
        ("if it fails", [(control.remediation, "")]),
        ("asked for by", said),
    )
    blocks = [control.id]
    for head, texts in sections:
        lines = [line for text, below in texts for line in _wrapped(text, below, max(LEAST_BODY, width - HEAD))]
        blocks.append("\n".join(f"{head if at == 0 else '':{HEAD}}{line}" for at, line in enumerate(lines)))
    return "\n\n".join(blocks)


def _wrapped(text: str, below: str, width: int) -> Iterator[str]:
    # A path or a command that was broken could not be copied: it rather sticks out.
    wrap = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    yield from wrap.wrap(text)
    wrap.initial_indent = "  "
    yield from wrap.wrap(below)


def _reference(reference: Reference) -> tuple[str, str]:
    asked = ASKS.get(reference.source, {}).get(reference.section, "")
    return str(reference), " — ".join(words for words in (asked, reference.fits) if words)
