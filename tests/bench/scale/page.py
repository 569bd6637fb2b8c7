"""The part of docs/figures.md that a whole run writes: the picture and the tables, between two marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.bench.figure import Curve, Unmeasured

BEGIN, END = "<!-- scale: written by `make bench ARGS=scale` -->", "<!-- scale: end -->"


def write(page: Path, picture: str, how: str, tables: Sequence[Curve]) -> None:
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise Unmeasured(f"{page} has no place for the tables: the marks {BEGIN} and {END}")
    parts = [f"![Load, one more CIDR, kernel memory and a connection, by the number of CIDRs]({picture})", how]
    parts += [f"{table.title}:\n\n{markdown(table)}" for table in tables]
    page.write_text(f"{before}{begin}\n{chr(10).join(part + chr(10) for part in parts)}{end}{after}", encoding="utf-8")


def markdown(table: Curve) -> str:
    rows = [table.columns, ["---"] * len(table.columns), *table.rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
