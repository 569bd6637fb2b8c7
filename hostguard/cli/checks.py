"""hostguard checks: the catalogue in a line each."""

from __future__ import annotations


def command() -> None:
    """List every control."""
    from rich.table import Table

    from hostguard.cli import screen
    from hostguard.control import WantingControl
    from hostguard.controls import CATALOGUE

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("control", "severity", "fixed by apply", "what must be true"):
        table.add_column(column, no_wrap=column != "what must be true")
    for control in CATALOGUE:
        fixed = "yes" if isinstance(control, WantingControl) else "check only"
        table.add_row(control.id, str(control.severity), fixed, control.title)
    screen.result().print(table)
