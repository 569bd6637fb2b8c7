"""hostguard explain: one control in full."""

from __future__ import annotations

from typing import Annotated

import typer

from hostguard.cli.failure import CALL, Stop


def command(
    control: Annotated[str, typer.Argument(metavar="ID", help="The control, such as kernel.somaxconn.")],
) -> None:
    """Explain one control in full.

    Why it must be true, who asks for it, and what to do where it is not.
    """
    import difflib
    import textwrap

    from hostguard.control import JudgingControl
    from hostguard.controls import CATALOGUE

    known = {each.id: each for each in CATALOGUE}
    found = known.get(control)
    if found is None:
        near = difflib.get_close_matches(control, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else "`hostguard checks` lists them"
        raise Stop(CALL, [f"there is no control {control!r}: {hint}"])
    how = f"reads {found.evidence}; check only" if isinstance(found, JudgingControl) else "read and fixed by apply"
    typer.echo(f"{found.id}  [{found.severity}]\n{found.title}\n")
    for head, body in (
        ("Why", found.rationale),
        ("How", how),
        ("What to do", found.remediation),
        ("Asked for by", "; ".join(map(str, found.references))),
    ):
        typer.echo(textwrap.fill(f"{head}: {body}", width=100, subsequent_indent="  "))
