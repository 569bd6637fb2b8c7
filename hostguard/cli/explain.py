"""hostguard explain: one control in full."""

from __future__ import annotations

from typing import Annotated

import typer

from hostguard.cli.failure import CALL, Stop


def command(
    control: Annotated[str, typer.Argument(metavar="ID", help="The control, such as kernel.somaxconn.")],
) -> None:
    """Explain one control in full.

    Why it must be true, how it is read, reached and undone, what to do where it is not, and who asks for it.
    """
    import difflib
    import shutil

    from hostguard.catalogue import text
    from hostguard.catalogue.entries import entries
    from hostguard.cli.screen import PIPE_WIDTH

    known = {entry.control.id: entry for entry in entries()}
    if control not in known:
        near = difflib.get_close_matches(control, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`hostguard checks` lists them"
        raise Stop(CALL, [f"there is no control {control!r}: {hint}"])
    typer.echo(text.render(known[control], shutil.get_terminal_size((PIPE_WIDTH, 0)).columns))
