"""New entries in the text of a policy, each with its comments. Every line that stands there stays as it is.

Written into the text rather than by a YAML emitter, which would write all of the file anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import yaml

from hostguard.observe.propose import Entry, Proposal
from hostguard.policy import document

PLAIN = re.compile(r"[A-Za-z0-9_./-]+", re.ASCII)
WIDTH = 118
STEP = 2
HEAD = "Seen, and not let out by what stands here:"


class CantInsert(ValueError):
    """The policy's text has no place for an entry. The text says where, and what to do."""


def insert(text: str, proposal: Proposal) -> str:
    """The text with the proposal in it. Raises CantInsert where that can't be done, never writes anything else."""
    root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    place = _Section(text, root)
    by_section: dict[str, list[Entry]] = {}
    for entry in proposal.entries:
        by_section.setdefault(entry.section, []).append(entry)
    # New sections come behind what is added to the last one that is there.
    for section in sorted(by_section, key=lambda name: name not in place.keys):
        place.add(section, by_section[section])
    if proposal.remarks:
        place.remark([HEAD, *(f"- {remark}" for remark in proposal.remarks)])
    new = place.done()
    if document.read(new.encode()).data != _with(document.read(text.encode()).data, proposal.entries):
        raise CantInsert("egress: its text is written in a way that nothing can be added to; write it in block style")
    return new


def _with(data: Any, entries: Sequence[Entry]) -> Any:
    """The policy's data with the entries, as it must come out."""
    egress = dict(data["egress"])
    for entry in entries:
        if entry.value is None:
            egress[entry.section] = [*(egress.get(entry.section) or []), entry.name]
        else:
            egress[entry.section] = {**(egress.get(entry.section) or {}), entry.name: entry.value}
    return {**data, "egress": egress}


class _Section:
    """The section `egress` in a text, and what is to be written into it."""

    def __init__(self, text: str, root: Any) -> None:
        self.text = text
        self.edits: list[tuple[int, int, int, str]] = []
        self.key, self.node = next(pair for pair in root.value if pair[0].value == "egress")
        self._own(self.key, self.node)
        if self.node.flow_style:
            raise CantInsert("egress: stands in braces; write it in block style, a key a line")
        self.keys = {key.value: (key, value) for key, value in self.node.value}
        self.indent = self.node.value[0][0].start_mark.column

    def _own(self, key: Any, value: Any) -> None:
        if value.start_mark.index < key.end_mark.index:
            raise CantInsert(f"{key.value}: is an alias of something that stands above; write it out")

    def _edit(self, start: int, end: int, new: str) -> None:
        self.edits.append((start, end, len(self.edits), new))

    def done(self) -> str:
        text = self.text
        for start, end, _, new in sorted(self.edits, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    def add(self, section: str, entries: Sequence[Entry]) -> None:
        mapping = entries[0].value is not None
        if section not in self.keys:
            self._after(self.node, [" " * self.indent + section + ":", *_block(entries, self.indent + STEP)])
            return
        key, value = self.keys[section]
        self._own(key, value)
        if not value.value:  # {}, [] or nothing at all
            before = self.text[: value.start_mark.index]
            self._edit(len(before.rstrip(" ")), value.end_mark.index, "")
            self._after(key, _block(entries, self.indent + STEP))
        elif not value.flow_style:
            first = value.value[0][0] if mapping else value.value[0]
            start = first.start_mark.index
            # An item of a list begins with its dash.
            column = first.start_mark.column if mapping else first.start_mark.column - start + self._dash(start)
            self._after(value, _block(entries, column))
        elif mapping:
            pad = " " * (self.indent + STEP)
            lines = [line for entry in entries for line in (*_comments(entry, pad), f"{pad}{_inline(entry)},")]
            at = _end_of_items(value)
            self._edit(at, at, ",\n" + "\n".join(lines)[:-1])
        else:
            start = self.text.rfind("\n", 0, key.start_mark.index) + 1
            above = [line for entry in entries for line in _comments(entry, " " * self.indent, f"{entry.name}: ")]
            self._edit(start, start, "".join(line + "\n" for line in above))
            at = _end_of_items(value)
            self._edit(at, at, "".join(f", {_scalar(entry.name)}" for entry in entries))

    def _dash(self, item: int) -> int:
        return self.text.rfind("-", 0, item)

    def remark(self, lines: Sequence[str]) -> None:
        pad = " " * self.indent
        self._after(self.node, [folded for line in lines for folded in _folded(line, pad)])

    def _after(self, node: Any, lines: Sequence[str]) -> None:
        """Whole lines below the last one of a node."""
        end = self.text.find("\n", _end(node))
        at = len(self.text) if end < 0 else end
        self._edit(at, at, "".join("\n" + line for line in lines))


def _end(node: Any) -> int:
    """Where what is written of a node ends: a block's own end is where the next one begins."""
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.index)
    last = node.value[-1]
    key, value = last if isinstance(last, tuple) else (last, last)
    return _end(key if value.start_mark.index < key.start_mark.index else value)


def _end_of_items(node: Any) -> int:
    last = node.value[-1]
    return _end(last[1] if isinstance(last, tuple) else last)


def _block(entries: Sequence[Entry], column: int) -> list[str]:
    pad = " " * column
    lines: list[str] = []
    for entry in entries:
        lines += _comments(entry, pad)
        if entry.value is None:
            lines.append(f"{pad}- {_scalar(entry.name)}")
        elif len(inline := pad + _inline(entry)) <= WIDTH:
            lines.append(inline)
        else:
            lines.append(f"{pad}{_scalar(entry.name)}:")
            for key, value in entry.value.items():
                deeper = pad + " " * STEP
                if isinstance(value, list):
                    lines += [f"{deeper}{key}:", *(f"{deeper}  - {_scalar(item)}" for item in value)]
                else:
                    lines.append(f"{deeper}{key}: {_scalar(value)}")
    return lines


def _inline(entry: Entry) -> str:
    parts = [f"{key}: {_flow(value)}" for key, value in (entry.value or {}).items()]
    return f"{_scalar(entry.name)}: {{{', '.join(parts)}}}"


def _flow(value: Any) -> str:
    return f"[{', '.join(map(_scalar, value))}]" if isinstance(value, list) else _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, int):
        return str(value)
    # Other readers of YAML take other words for numbers or booleans than ours does.
    means_itself = PLAIN.fullmatch(value) and document.plain(value) == value == yaml.safe_load(value)
    return value if means_itself else json.dumps(value)


def _comments(entry: Entry, pad: str, before: str = "") -> list[str]:
    return [line for comment in entry.comments for line in _folded(before + comment, pad)]


def _folded(text: str, pad: str) -> list[str]:
    """Comment lines. What the host said must not end one."""
    words = "".join(letter if letter.isprintable() else "?" for letter in text).split(" ")
    lines = [f"{pad}#"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > WIDTH and lines[-1].strip() != "#":
            lines.append(f"{pad}#  ")
        lines[-1] += f" {word}"
    return lines
