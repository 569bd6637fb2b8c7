"""hostguard explain: one control in full."""

from __future__ import annotations

from typing import Annotated

import typer

from hostguard.cli.failure import Stop
from hostguard.status import Exit


def command(
    control: Annotated[str, typer.Argument(metavar="ID", help="The control, such as kernel.somaxconn.")],
) -> None:
    """Explain one control in full.

    Why it must hold, how it is read, reached and undone, what to do if it fails, and which requirements ask for it.
    """
    import shutil

    from hostguard.catalogue import text
    from hostguard.catalogue.entries import entries
    from hostguard.cli.screen import PIPE_WIDTH
    from hostguard.controls import hint

    entry = next((each for each in entries() if each.control.id == control), None)
    if entry is None:
        raise Stop(Exit.CALL, [f"there is no control {control!r}: {hint(control)}"])
    typer.echo(text.render(entry, shutil.get_terminal_size((PIPE_WIDTH, 0)).columns))
