"""Where YAML ends to be YAML: the line itself, a caret, and what it mostly is (pure)."""

from __future__ import annotations

import re
from dataclasses import dataclass

LONGEST = 100
"""Characters of a line that are shown, with the place in the middle."""

TAB = re.compile(r" *\t")
NO_BLANK = re.compile(r"\s*(?:- )?([A-Za-z_][\w.-]*):[^\s:/]")
TWO_COLONS = re.compile(r"[^\s'\"#][^'\"#]*: [^'\"#]*: ")
MARKS = ("@", "`", "%", "*", "&", "!")


@dataclass(frozen=True)
class Cause:
    """What mostly is behind an error of YAML: `line` (from 0) is where it is, and `column` too, where it is not the
    parser's own place."""

    line: int
    column: int
    found: str
    expected: str


def cause(lines: list[str], at: int, column: int) -> Cause | None:
    """Of an error at a line and column (from 0): of that line, or of the one before it, which often is to blame. None
    where it is none of the usual ones."""
    above = next((n for n in range(min(at, len(lines)) - 1, -1, -1) if _says_something(lines[n])), None)
    places = [(number, column if number == at else 0) for number in (at, above) if number is not None]
    places = [(number, where) for number, where in places if number < len(lines)]
    for of_line in (_tab, _mark, _no_blank, _bracket, _quote, _two_colons):
        for number, where in places:
            if found := of_line(lines[number], where):
                column_, *words = found
                return Cause(number, column_, *words)
    if len(places) == 2 and _depth(lines[at]) != _depth(lines[places[1][0]]):
        said = ("a line that is indented like none above it", "the blanks of the keys that it belongs to")
        return Cause(at, _depth(lines[at]), *said)
    return None


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


Found = tuple[int, str, str]


def _tab(line: str, _column: int) -> Found | None:
    found = TAB.match(line)
    return (found.end() - 1, "a tab before the text", "blanks: YAML is indented by blanks alone") if found else None


def _mark(line: str, column: int) -> Found | None:
    rest = line[column:].lstrip()
    if column and rest[:1] in MARKS:
        return column, f"text that begins with {rest[0]}, which has a meaning of its own in YAML", "it in quotes"
    return None


def _no_blank(line: str, _column: int) -> Found | None:
    found = NO_BLANK.match(line)
    return (found.end() - 1, f"no blank behind `{found[1]}:`", f"`{found[1]}: …`") if found else None


def _bracket(line: str, _column: int) -> Found | None:
    for opened, closed in ("[]", "{}"):
        more = line.count(opened) - line.count(closed)
        if more > 0:
            return line.rindex(opened), f"a `{opened}` without its `{closed}`", f"a `{closed}` at its end"
        if more < 0:
            return line.rindex(closed), f"a `{closed}` without its `{opened}`", f"a `{opened}` before it"
    return None


def _quote(line: str, _column: int) -> Found | None:
    for quote in ('"', "'"):
        if line.count(quote) % 2:
            return line.index(quote), f"a {quote} that is not closed", f"a {quote} at the end of the text"
    return None


def _two_colons(line: str, column: int) -> Found | None:
    if column and "{" not in line and TWO_COLONS.match(line.lstrip()):
        expected = "the value in quotes, or the second key on a line of its own"
        return column, "a second colon with a blank in one line", expected
    return None


def _depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def shown(lines: list[str], at: int, column: int) -> str:
    """The line with its number, and a caret below the place; "" where there is no such line."""
    if at >= len(lines):
        return ""
    first = max(0, column - LONGEST // 2)
    letters = [_printable(letter) for letter in lines[at][first : first + LONGEST]]
    before = "".join(letters[: column - first])
    number = f"{at + 1}"
    return f"  {number} | {''.join(letters)}\n  {' ' * len(number)} | {' ' * len(before)}^"


def _printable(letter: str) -> str:
    return letter if letter.isascii() and letter.isprintable() else ascii(letter)[1:-1]
