"""The command line: the commands, and what becomes of the errors that they raise."""

from __future__ import annotations

import gc
import os
import sys
from typing import Annotated

import typer

from hostguard import __version__
from hostguard.cli import (
    apply,
    audit,
    checks,
    confirm,
    explain,
    history,
    init,
    learn,
    plan,
    prove,
    rehearse,
    rollback,
    size,
    validate,
    watch,
)
from hostguard.cli.failure import Stop
from hostguard.visible import visible

YOUNG = 100_000
"""New objects before the garbage collector looks: at Python's own 700 it takes as long as an allowlist of 100,000."""

app = typer.Typer(
    name="hostguard",
    help="Hardens Linux hosts that call third-party APIs, proves it, and always keeps a way back.",
    no_args_is_help=True,
    add_completion=False,
    # Rich would draw boxes, and take as long for it as all the rest of the start.
    rich_markup_mode=None,
    # A traceback with local variables could print a secret.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

POLICY, HOST, CATALOGUE = "The policy", "A host", "The catalogue"
for module, panel in (
    (init, POLICY),
    (validate, POLICY),
    (size, POLICY),
    (rehearse, POLICY),
    (plan, HOST),
    (apply, HOST),
    (confirm, HOST),
    (rollback, HOST),
    (history, HOST),
    (audit, HOST),
    (prove, HOST),
    (watch, HOST),
    (learn, HOST),
    (checks, CATALOGUE),
    (explain, CATALOGUE),
):
    app.command(name=module.__name__.rpartition(".")[2], rich_help_panel=panel)(module.command)


def version(asked: bool) -> None:
    if asked:
        typer.echo(f"hostguard {__version__}")
        raise typer.Exit


@app.callback()
def hostguard(
    _version: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def run() -> None:
    """The entry point: bad input ends in words and an exit code, never in a traceback."""
    gc.set_threshold(YOUNG, 20, 20)
    try:
        app()
    except Stop as stop:
        for line in (each for lines in stop.lines for each in lines.splitlines()):
            print(f"hostguard: {visible(line)}", file=sys.stderr)
        sys.exit(stop.exit)
    except BrokenPipeError:
        # Who reads us went away (`| head`): nothing is left to say, and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
