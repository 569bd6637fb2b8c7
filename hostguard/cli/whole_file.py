"""A file that is there whole or not at all: a collector of reports never reads half of one."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

import typer

from hostguard.cli.failure import Stop
from hostguard.status import Exit


def replace(path: Path, text: str) -> None:
    """Write beside, then rename. A link stays, and its target is replaced. Raises OSError."""
    if path.exists() and not path.is_file():
        # /dev/stdout, a pipe: nothing that a rename may put a file in place of.
        path.write_text(text, encoding="utf-8")
        return
    path = path.resolve()
    beside = path.with_name(f".hostguard-{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "w", encoding="utf-8") as file:
            file.write(text)
        if path.exists():
            shutil.copymode(path, beside)
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def written(text: str, output: Path | None) -> None:
    """What a command is to write, on stdout without a file. Ends the command where that can't be done."""
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        replace(output, text)
    except OSError as error:
        raise Stop(Exit.ITSELF, [f"{output}: can't write: {error.strerror}"]) from None
