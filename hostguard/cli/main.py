"""The command line: the commands, and what becomes of the errors that they raise."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from hostguard import __version__
from hostguard.cli import (
    apply,
    audit,
    checks,
    confirm,
    diagnose,
    explain,
    history,
    init,
    learn,
    output,
    plan,
    prove,
    rehearse,
    rollback,
    schema,
    size,
    validate,
    watch,
    why,
)
from hostguard.cli.failure import Stop
from hostguard.status import Exit
from hostguard.visible import visible

YOUNG = 100_000
"""New objects before the garbage collector looks: at Python's own 700 it takes as long as an allowlist of 100,000."""

INTERRUPTED = 130
"""What a shell says of a program that Ctrl-C ended."""
HELP_FLAGS = ("-h", "--help")
EXITS = {
    0: "all well",
    1: "a control fails, something gets out, or a host was rolled back",
    2: "the call or the policy is wrong and nothing was touched",
    3: "something could not be seen or reached",
    4: "hostguard itself failed, or its result could not be written",
    INTERRUPTED: "somebody ended it with Ctrl-C",
}
EXIT_CODES = f"Exit codes: {', '.join(f'{code} {text}' for code, text in EXITS.items())}."

app = typer.Typer(
    name="hostguard",
    help="Hardens Linux hosts that call third-party APIs, proves it, and always keeps a way back.",
    no_args_is_help=True,
    # Rich would draw boxes, and take as long for it as all the rest of the start.
    rich_markup_mode=None,
    # A traceback with local variables could print a secret.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP_FLAGS},
)

POLICY, HOST, CATALOGUE = "The policy", "A host", "The catalogue"
for module, panel in (
    (init, POLICY),
    (validate, POLICY),
    (size, POLICY),
    (schema, POLICY),
    (why, POLICY),
    (rehearse, POLICY),
    (plan, HOST),
    (apply, HOST),
    (confirm, HOST),
    (rollback, HOST),
    (history, HOST),
    (audit, HOST),
    (diagnose, HOST),
    (prove, HOST),
    (watch, HOST),
    (learn, HOST),
    (checks, CATALOGUE),
    (explain, CATALOGUE),
):
    app.command(name=module.__name__.rpartition(".")[2], rich_help_panel=panel, epilog=EXIT_CODES)(module.command)


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
    """The entry point: whatever goes wrong ends in words and an exit code of its own, never in a traceback."""
    gc.set_threshold(YOUNG, 20, 20)
    code: int = Exit.ITSELF
    try:
        output.prepare()
        code = _code_of(app)
        output.finish()
    except output.CantWrite as error:
        output.give_up()
        code = Exit.ITSELF
        if not error.reader_left:
            _say([str(error)])
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # a fault of ours is no finding, and exit code 1 is one
        if os.environ.get("HOSTGUARD_TRACEBACK"):
            raise
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        _say([f"hostguard itself failed: {said} (HOSTGUARD_TRACEBACK=1 shows where; please report it)"])
    sys.exit(code)


def _code_of(app: typer.Typer) -> int:
    """Run a command; its exit code."""
    try:
        app()
    except Stop as stop:
        _say([each for lines in stop.lines for each in lines.splitlines()])
        return stop.exit
    except SystemExit as end:  # how typer ends, after its own words
        return end.code if isinstance(end.code, int) else 0 if end.code is None else Exit.CALL
    return 0


def _say(lines: Sequence[str]) -> None:
    for line in lines:
        print(f"hostguard: {visible(line)}", file=sys.stderr)
