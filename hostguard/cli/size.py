"""hostguard size: the numbers that follow from a capacity, each with its formula."""

from __future__ import annotations

from typing import Annotated

import typer

from hostguard.cli.failure import CALL, Stop
from hostguard.cli.policy import PolicyOption, load


def command(
    policy: PolicyOption = None,
    rps: Annotated[float | None, typer.Option("--rps", help="Peak requests a second, instead of a policy.")] = None,
    p99: Annotated[str | None, typer.Option("--p99", help="Their P99 latency with its unit: 800ms.")] = None,
    headroom: Annotated[float, typer.Option("--headroom", help="The room above the peak, with --rps.")] = 2.0,
) -> None:
    """Show the numbers derived from the capacity.

    Each with its formula, and what it would override.
    """
    from rich.table import Table
    from rich.text import Text

    from hostguard.cli import screen
    from hostguard.policy.sizing import size

    if (rps is None) != (p99 is None):
        raise Stop(CALL, ["--rps and --p99 go together: hostguard size --rps 2000 --p99 800ms"])
    chosen = _of_numbers(rps, p99, headroom) if rps is not None else load(policy, harmless=True).policy
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("number", no_wrap=True)
    table.add_column("derived", justify="right", no_wrap=True)
    table.add_column("formula", overflow="fold")
    table.add_column("overrides", overflow="fold")
    for number in size(chosen).numbers:
        formula = number.formula + (f"; {number.note}" if number.note else "")
        overrides = number.overrides + (f" (the policy says {number.set_to})" if number.set_to else "")
        table.add_row(number.name, Text(f"{number.value:,} {number.unit}".strip()), Text(formula), Text(overrides))
    screen.result().print(table)


def _of_numbers(rps: float | None, p99: str | None, headroom: float):  # type: ignore[no-untyped-def]  # a late import
    from pydantic import ValidationError

    from hostguard.policy.model import Policy

    try:
        return Policy.model_validate(
            {"version": 1, "capacity": {"peak_rps": rps, "p99": p99, "headroom": headroom}, "limits": {}}
        )
    except ValidationError as error:
        names = {"peak_rps": "--rps", "p99": "--p99", "headroom": "--headroom"}
        said = [f"{names[str(e['loc'][-1])]}: found {e['input']}, expected {e['msg']}" for e in error.errors()]
        raise Stop(CALL, said) from None
