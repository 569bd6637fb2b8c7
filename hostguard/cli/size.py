"""hostguard size: the numbers that follow from a capacity, each with its formula."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli.failure import Stop
from hostguard.cli.options import PolicyOption, table_or_json
from hostguard.cli.policy import load
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.policy.numbers import Number

SCHEMA = "hostguard.size/1"
WIDTH = 78


def command(
    policy: PolicyOption = None,
    rps: Annotated[
        float | None, typer.Option("--rps", metavar="N", help="Peak requests a second, instead of a policy.")
    ] = None,
    p99: Annotated[
        str | None, typer.Option("--p99", metavar="TIME", help="Their P99 latency with its unit: 800ms.")
    ] = None,
    headroom: Annotated[
        float, typer.Option("--headroom", metavar="N", help="The room above the peak, with --rps.")
    ] = 2.0,
    format_: Annotated[str, table_or_json(SCHEMA)] = "table",
) -> None:
    """Show the numbers derived from the capacity.

    Each with its formula, and the setting that it would override.
    """
    from hostguard.policy.sizing import size

    if (rps is None) != (p99 is None):
        raise Stop(Exit.CALL, ["--rps and --p99 go together: hostguard size --rps 2000 --p99 800ms"])
    chosen = _of_numbers(rps, p99, headroom) if rps is not None else load(policy, harmless=True).policy
    numbers = size(chosen).numbers
    if format_ == "json":
        import json

        typer.echo(json.dumps({"schema": SCHEMA, "numbers": [asdict(number) for number in numbers]}, indent=2))
        return
    widest = max(len(number.name) for number in numbers)
    for number in numbers:
        derived = f"{number.value:,} {number.unit}".strip()
        typer.echo(f"{number.name:<{widest}}  {derived}")
        rows = (
            ("policy says", number.set_to),
            ("is", number.formula),
            ("note", number.note),
            ("sets", _others(number)),
        )
        for name, text in rows:
            if text:
                typer.echo(textwrap.fill(f"{name} {text}", WIDTH, initial_indent="    ", subsequent_indent="      "))


def _others(number: Number) -> str:
    """What a number sets, where that is not its own name."""
    return number.overrides if number.overrides != number.name else ""


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
        raise Stop(Exit.CALL, said) from None
