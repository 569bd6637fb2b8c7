"""A fault rehearsal as one page that needs nothing from elsewhere: the verdict, what is wrong and which key decides it,
all faults side by side, and each of them in time."""

from __future__ import annotations

from typing import Any, cast

from hostguard.rehearse.faults.result import Fault, Faults, Verdict
from hostguard.report import page, timeline
from hostguard.visible import visible

FIRST: tuple[Verdict, ...] = ("wrong", "no_proof", "held", "not_tried")
"""What a reader must know, first."""
WORD: dict[Verdict, tuple[str, str, str]] = {
    "wrong": ("✕", "wrong", "fail"),
    "no_proof": ("?", "no proof", "unknown"),
    "held": ("✓", "held", "pass"),
    "not_tried": ("–", "not tried", "not_applicable"),
}
"""The sign of a verdict, its word, and what the style calls it."""
MOST_OPEN = 4
"""So many faults stand open at first; of more, all are folded."""
LONGEST = 300
"""Letters of one word of a provider's, or of a library's; a page has thousands of them."""


def render(faults: Faults) -> str:
    said = cast("Faults", printable(dict(faults)))
    for fault in said["faults"]:
        fault["title"] = fault["title"][:1].upper() + fault["title"][1:]
    count = {verdict: sum(fault["verdict"] == verdict for fault in said["faults"]) for verdict in FIRST}
    numbered = list(enumerate(said["faults"], 1))
    by_verdict = {verdict: [each for each in numbered if each[1]["verdict"] == verdict] for verdict in FIRST}
    return page.render(
        "faults",
        WORD=WORD,
        FIRST=FIRST,
        SIGNS=timeline.WORDS,
        faults=said,
        numbered=numbered,
        by_verdict=by_verdict,
        pictures={number: timeline.of(fault) for number, fault in numbered if drawn(fault)},
        count=count,
        segments=page.segments(count, FIRST),
        ways=timeline.ways,
        most_open=MOST_OPEN,
    )


def drawn(fault: Fault) -> bool:
    return any(way["calls"] or way["reached"] for way in timeline.ways(fault))


def printable(node: Any) -> Any:
    """The same, of text that prints and is no longer than a person reads."""
    if isinstance(node, str):
        shown = visible(" ".join(node[: LONGEST + 1].split()))
        return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}…"
    if isinstance(node, dict):
        return {key: printable(value) for key, value in node.items()}
    if isinstance(node, list):
        return [printable(value) for value in node]
    return node
