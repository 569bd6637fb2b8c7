"""YAML as plain data, with the line of every key, and nothing that a policy has no use for.

Built from the parser's events rather than by a YAML constructor: so tags make no objects, aliases can't explode,
and a value means what it looks like. YAML 1.1 reads `off` as false, `0750` as 488 and `22:22` as 1342; here they
stay the text that was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from hostguard.policy import excerpt

Path = tuple[str | int, ...]
"""Where a value stands in a policy: keys, and positions in lists."""

DEEPEST = 20
MOST_VALUES = 2_000_000
LARGEST = 64 * 1024 * 1024
LONGEST_KEY = 80

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
DECIMAL = re.compile(r"-?(0|[1-9][0-9]{0,17})\.[0-9]{1,18}")
WORDS: dict[str, Any] = {"true": True, "false": False, "null": None, "~": None, "": None}


class NotADocument(Exception):
    """What stands in the file is no policy document. `line` and `column` count from 1; 0 where there is none. `excerpt`
    is the line itself, with a caret below the place."""

    def __init__(self, line: int, key: str, found: str, expected: str, column: int = 0, excerpt: str = "") -> None:
        super().__init__(found)
        self.line, self.key, self.found, self.expected = line, key, found, expected
        self.column, self.excerpt = column, excerpt


@dataclass
class Document:
    """`data` as plain dicts, lists and scalars; `lines` by path; keys that were written twice, as (path, line)."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    duplicates: list[tuple[Path, int]] = field(default_factory=list)


@dataclass
class _Value:
    data: Any
    size: int


class _Reader:
    def __init__(self, events: Iterator[Any]) -> None:
        self.events = events
        self.document = Document()
        self.anchors: dict[str, _Value] = {}
        self.size = 0

    def value(self, event: Any, path: Path) -> _Value:
        line = event.start_mark.line + 1
        if len(path) > DEEPEST:
            raise NotADocument(line, dotted(path[:3]) + "…", f"nested more than {DEEPEST} deep", "a policy")
        if isinstance(event, yaml.AliasEvent):
            found = self.anchors.get(event.anchor or "")
            if found is None:
                raise NotADocument(line, dotted(path), f"*{event.anchor}", "an anchor above, or the text in quotes")
            self.count(found.size, line)
            return found
        if event.tag and not isinstance(event, yaml.ScalarEvent):
            raise NotADocument(line, dotted(path), f"the tag {safe(event.tag)}", "no tags")
        if isinstance(event, yaml.ScalarEvent):
            made = _Value(self.scalar(event, path, line), 1)
            self.count(1, line)
        elif isinstance(event, yaml.SequenceStartEvent):
            made = self.sequence(path)
        else:
            made = self.mapping(path)
        if event.anchor:
            self.anchors[event.anchor] = made
        return made

    def count(self, more: int, line: int) -> None:
        self.size += more
        if self.size > MOST_VALUES:
            raise NotADocument(line, "", f"more than {MOST_VALUES:,} values", "a smaller policy")

    def scalar(self, event: Any, path: Path, line: int) -> Any:
        if event.tag and event.tag != "!":
            raise NotADocument(line, dotted(path), f"the tag {safe(event.tag)}", "no tags")
        if event.style:  # quoted, or a block
            return event.value
        return plain(event.value)

    def sequence(self, path: Path) -> _Value:
        items: list[Any] = []
        size = 1
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            here = (*path, len(items))
            self.document.lines[here] = event.start_mark.line + 1
            item = self.value(event, here)
            items.append(item.data)
            size += item.size
        return _Value(items, size)

    def mapping(self, path: Path) -> _Value:
        items: dict[str, Any] = {}
        size = 1
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            line = event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent):
                raise NotADocument(line, dotted(path), "a list, a mapping or an alias as a key", "text as a key")
            here = (*path, event.value)
            if event.value in items:
                self.document.duplicates.append((here, line))
            self.document.lines[here] = line
            item = self.value(next(self.events), here)
            items[event.value] = item.data
            size += item.size
        return _Value(items, size)


def plain(text: str) -> Any:
    """What an unquoted scalar means: a decimal number, true, false, null, or else its own text."""
    if INTEGER.fullmatch(text):
        return int(text)
    if DECIMAL.fullmatch(text):
        return float(text)
    return WORDS.get(text, text)


def read(raw: bytes) -> Document:
    """Parse a document. Raises NotADocument for what is no single YAML document of plain values."""
    if len(raw) > LARGEST:
        raise NotADocument(0, "", f"{len(raw):,} bytes", f"at most {LARGEST:,} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise NotADocument(line, "", f"byte 0x{raw[error.start]:02x}, which is no UTF-8", "UTF-8 text") from None
    events = yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return _one_document(events)
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(error, text) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"the character {_number(error.character):#x}: control characters are not allowed"
        raise NotADocument(line, "", found, "text") from None
    except yaml.YAMLError as error:
        raise NotADocument(0, "", safe(str(error).splitlines()[0]), "YAML") from None


def _no_yaml(error: yaml.MarkedYAMLError, text: str) -> NotADocument:
    # A text whose quote is never closed begins at the context, and ends with the file.
    unclosed = "quoted" in (error.context or "") and error.context_mark
    mark = unclosed or error.problem_mark or error.context_mark
    said = " ".join((error.problem or error.context or "it").split())
    if mark is None:
        return NotADocument(0, "", safe(said), "YAML")
    lines = text.splitlines()
    cause = excerpt.cause(lines, mark.line, mark.column) or excerpt.Cause(
        mark.line, mark.column, "what is no YAML", "YAML"
    )
    shown = excerpt.shown(lines, cause.line, cause.column)
    found = f"{cause.found} ({safe(said)})"
    return NotADocument(cause.line + 1, "", found, cause.expected, cause.column + 1, shown)


def _number(character: Any) -> int:
    """PyYAML's own reader names a character by itself, libyaml's by its number."""
    return character if isinstance(character, int) else ord(character)


def _one_document(events: Iterator[Any]) -> Document:
    reader = _Reader(events)
    next(events)  # the start of the stream
    if isinstance(next(events), yaml.StreamEndEvent):
        return reader.document
    reader.document.data = reader.value(next(events), ()).data
    next(events)  # the end of the document
    following = next(events)
    if not isinstance(following, yaml.StreamEndEvent):
        raise NotADocument(following.start_mark.line + 1, "", "a second document", "one document a file")
    return reader.document


def dotted(path: Path) -> str:
    """A path as people write it: egress.providers.payments.cidrs[0]."""
    said = ""
    for part in path:
        if isinstance(part, int):
            said += f"[{part}]"
        else:
            said += f".{safe(part)}" if said else safe(part)
    return said


def safe(word: str) -> str:
    """A word of the file as an error may show it. Tags too can hold anything: `!%1b` is an escape."""
    harmless = word.isascii() and word.isprintable() and len(word) <= LONGEST_KEY
    return word if harmless else ascii(word[:LONGEST_KEY])
