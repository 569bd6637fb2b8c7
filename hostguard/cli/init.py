"""hostguard init: a policy and an inventory to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hostguard.cli.called import command as command_of
from hostguard.cli.failure import Stop
from hostguard.status import Exit

FILES = {"hostguard.yml": "hostguard.yml", "inventory.yml": "inventory.yml"}
SCHEMA = "hostguard.schema.json"


def command(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where to write.", show_default=False)] = Path(),
) -> None:
    """Write a starter policy, its schema, and an inventory.

    Refuses to overwrite.
    """
    import json

    from hostguard.policy.schema import schema

    starters = Path(__file__).parent.parent / "policy" / "starter"
    there = [folder / name for name in (*FILES, SCHEMA) if (folder / name).exists()]
    if there:
        said = ", ".join(map(str, there))
        raise Stop(Exit.CALL, [f"{said}: there already, and not overwritten; nothing was written"])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, source in FILES.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write((starters / source).read_text(encoding="utf-8"))
            typer.echo(f"{folder / name}")
        with (folder / SCHEMA).open("x", encoding="utf-8") as file:
            file.write(json.dumps(schema(), ensure_ascii=False, indent=2) + "\n")
        typer.echo(f"{folder / SCHEMA}")
    except OSError as error:
        raise Stop(Exit.CALL, [f"{error.filename}: {error.strerror}"]) from None
    then = ", ".join(map(command_of, ("validate", "rehearse", "plan")))
    typer.echo(f"Edit hostguard.yml, then: {then}", err=True)
