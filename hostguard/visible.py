"""The one way of what a host said to whoever reads it: text that prints, and that no terminal and no runner obeys."""

from __future__ import annotations

import re

# GitHub's runner obeys `::name …::` at the start of a line, blanks before it or not, and a table may break a line
# anywhere: no IPv6 address has such a letter behind its `::`. `##[` and its kin it and others obey anywhere.
ORDER = re.compile(r":(?=:[A-Za-z-]*[G-Zg-z-])|#(?=#(?:vso|teamcity)?\[)|(?<=\n):(?=:)|(?<=\n)\s+:(?=:)")

LONGEST = 4000


def visible(text: str, keep: str = "") -> str:
    """Whatever does not print (controls, ANSI escapes, lone surrogates, marks that reorder text) as an escape, and a
    blank within whatever a runner of pipelines would take for an order."""
    if not text.isprintable():
        text = "".join(
            letter if letter.isprintable() or letter in keep else letter.encode("unicode_escape").decode()
            for letter in text
        )
    return ORDER.sub(lambda found: found[0] + " ", text) if "::" in text or "##" in text else text


def one_line(text: object) -> str:
    """The same in one line, whatever breaks lines in it, and no longer than a person reads."""
    return visible(" ".join(cut(str(text)).split()))


def cut(text: str) -> str:
    """No more of a host's word than a person reads: it may be as long as all that a host may answer."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… and {len(text) - LONGEST} more letters"
