"""The options that several commands share, each with its one name, form and help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hostguard.cli.failure import need_one_of
from hostguard.target.schemes import FORMS


def formats(*names: str, says: str = "") -> Any:
    """The option --format of a command that knows these. `says` tells of the last one."""

    def known(found: str) -> str:
        need_one_of("--format", found, names)
        return found

    text = f"{', '.join(names[:-1])} or {names[-1]}{says}."
    return typer.Option("--format", metavar="F", help=text, callback=known, autocompletion=lambda: names)


def table_or_json(schema: str) -> Any:
    return formats("table", "json", says=f" ({schema})")


PolicyOption = Annotated[
    Path | None,
    typer.Option(
        "--policy",
        "-p",
        metavar="FILE",
        help="The policy file; else ./hostguard.yml, /etc/hostguard/policy.yml, or what was applied to this host last.",
        show_default=False,
    ),
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write there instead of stdout.")
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
EverythingOption = Annotated[bool, typer.Option("--all", help="Show every way out, not only the wrong ones.")]
ForOption = Annotated[
    str | None,
    typer.Option("--for", metavar="TIME", help="Stop after so long, such as 90s, 10m or 8h.", show_default="Ctrl-C"),
]

HostOption = Annotated[str | None, typer.Option("--host", metavar="URI", help=f"{FORMS}.")]
HostsOption = Annotated[list[str] | None, typer.Option("--host", metavar="URI", help=f"{FORMS}; can be repeated.")]
SudoOption = Annotated[bool, typer.Option("--sudo", help="With --host: become root there by `sudo -n`.")]

InventoryOption = Annotated[
    list[str] | None,
    typer.Option("--inventory", "-i", metavar="INVENTORY", help="Act on the hosts of an Ansible inventory."),
]
LimitOption = Annotated[
    str | None, typer.Option("--limit", "-l", metavar="PATTERN", help="With -i: these hosts of it alone.")
]
ForksOption = Annotated[
    int | None, typer.Option("--forks", "-f", min=1, metavar="N", help="With -i: so many hosts at a time (50).")
]
CanaryOption = Annotated[
    int | None,
    typer.Option("--canary", min=0, metavar="N", help="With -i: the first N hosts, and the others if they are well."),
]
SerialOption = Annotated[
    str | None, typer.Option("--serial", metavar="N|N%", help="With -i: so many hosts in one wave.")
]
MaxFailOption = Annotated[
    str | None,
    typer.Option("--max-fail", metavar="N|N%", help="With -i: begin no wave when more hosts than this failed (0)."),
]
LogDirOption = Annotated[
    Path | None, typer.Option("--log-dir", metavar="DIR", help="With -i: keep each host's answers there.")
]
WithinOption = Annotated[
    str | None,
    typer.Option("--answer-within", metavar="TIME", help="How long another host may take to answer (300s)."),
]
SizeOption = Annotated[
    str | None, typer.Option("--answer-size", metavar="SIZE", help="How much another host may answer (64M).")
]
