"""`python -m tests.bench [NAME...]`: figures by name, as FIGURES has them, or all of them."""

from __future__ import annotations

import sys
from types import ModuleType

from rich.console import Console
from rich.table import Table

from tests.bench import audit, auditors, connections, fleet, scale, sets, start
from tests.bench.figure import Curve, Figure, Unmeasured, seconds
from tests.bench.gateway import lost, memory, on_a_host, speed

FIGURES: dict[str, ModuleType] = {
    "start": start,
    "audit": audit,
    "auditors": auditors,
    "sets": sets,
    "connections": connections,
    "scale": scale,
    "fleet": fleet,
    "gateway": speed,
    "gateway-lost": lost,
    "gateway-memory": memory,
    "gateway-host": on_a_host,
}


def row(figure: Figure) -> tuple[str, ...]:
    low, high = figure.spread
    medians = figure.medians
    return (
        figure.name,
        f"{figure.ratio:.2f}",
        f"{low:.2f} – {high:.2f}",
        f"{figure.ours_is}: {seconds(medians[0])}",
        f"{figure.base_is}: {seconds(medians[1])}",
        str(len(figure.ours)),
        f"{figure.target}, missed" if figure.missed else figure.target,
    )


def plain_table(*columns: str) -> Table:
    return Table(*columns, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        print(f"no figure {', '.join(unknown)}; there are: {', '.join(FIGURES)}", file=sys.stderr)
        return 2
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = plain_table()
    for column in ("figure", "ratio", "quartiles", "hostguard", "against", "runs", "target"):
        table.add_column(column, no_wrap=column not in ("hostguard", "against"))
    chosen = names or list(FIGURES)
    failed = []
    curves: list[Curve] = []
    for name in chosen:
        print(f"bench: measuring {name}", file=sys.stderr, flush=True)
        try:
            for found in FIGURES[name].measure():
                if isinstance(found, Curve):
                    curves.append(found)
                else:
                    table.add_row(*row(found))
        except Unmeasured as why:
            failed.append(name)
            table.add_row(name, "—", "", f"not measured: {why}")
    if table.row_count:
        console.print(table)
        console.print(
            "\nRatio: the median of the ratios of pairs measured right after one another. Target: a remark.\n"
        )
    for curve in curves:
        console.print(f"{curve.title}:", highlight=False)
        shown = plain_table(*curve.columns)
        for cells in curve.rows:
            shown.add_row(*cells)
        console.print(shown, "")
    for name in chosen:
        console.print(f"{name}: {' '.join((FIGURES[name].measure.__doc__ or '').split())}", highlight=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
