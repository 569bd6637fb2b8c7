"""hostguard checks: the catalogue, a line a control."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli.failure import need_one_of
from hostguard.cli.options import table_or_json

if TYPE_CHECKING:
    from hostguard.catalogue.entries import Entry


def command(
    area: Annotated[
        str | None, typer.Option("--area", metavar="AREA", help="Those of one area, such as egress.")
    ] = None,
    format_: Annotated[str, table_or_json("hostguard.checks/1")] = "table",
) -> None:
    """List every control.

    With --format json each in full, with the requirements that it answers.
    """
    from hostguard.catalogue.entries import entries

    found = entries()
    areas = dict.fromkeys(entry.control.area for entry in found)
    if area is not None:
        need_one_of("--area", area, areas)
    chosen = [entry for entry in found if area in (None, entry.control.area)]
    if format_ == "json":
        from hostguard.catalogue import json

        typer.echo(json.render(chosen))
    else:
        _table(chosen)


def _table(chosen: list[Entry]) -> None:
    from rich.table import Table

    from hostguard.cli import screen

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("control", "severity", "fixed by", "what must be true"):
        table.add_column(column, no_wrap=column != "what must be true")
    for entry in chosen:
        by = "apply" if entry.fixed_by_apply else "you"
        table.add_row(entry.control.id, str(entry.control.severity), by, entry.control.title)
    screen.result().print(table)
