"""hostguard diagnose: which fault a host has, where that is seen, and what mends it. Reads, changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hostguard.cli import listening, targets
from hostguard.cli.failure import Stop
from hostguard.cli.options import (
    ForksOption,
    HostsOption,
    InventoryOption,
    LimitOption,
    PolicyOption,
    SizeOption,
    SudoOption,
    WithinOption,
    table_or_json,
)
from hostguard.cli.policy import load
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.diagnose.rule import Asked

SCHEMA = "hostguard.diagnosis/1"


def command(
    about: Annotated[
        str,
        typer.Argument(
            metavar="[PROVIDER|UNIT]",
            help="A provider, a service or a unit of the policy; left out, all of the host.",
            show_default=False,
        ),
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="How far back in logs, such as 90s, 10m or 8h.")
    ] = "1h",
    no_probe: Annotated[
        bool, typer.Option("--no-probe", help="Send nothing: no question to a resolver, no connection to a provider.")
    ] = False,
    policy: PolicyOption = None,
    format_: Annotated[str, table_or_json(SCHEMA)] = "table",
    host: HostsOption = None,
    sudo: SudoOption = False,
    inventory: InventoryOption = None,
    limit: LimitOption = None,
    forks: ForksOption = None,
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Tell which fault a host has: where it is seen, what it means, and the policy's key that mends it.

    One look, and nothing is changed. Probes go to destinations that the policy sanctions, one each, by the account that
    may. Exit code 0: nothing is found, 1: something is, 3: something could not be read, and nothing is found.
    """
    import sys
    import time

    from hostguard.cli import screen
    from hostguard.diagnose import diagnosis, shown
    from hostguard.diagnose.rule import HOUR, Asked

    looked_at = targets.chosen(inventory, host, None, sudo=sudo, limit=limit, forks=forks,
                               answer_within=answer_within, answer_size=answer_size)  # fmt: skip
    seconds = listening.seconds(since, "--since") or HOUR
    loaded = load(policy, harmless=True, elsewhere=looked_at.elsewhere)
    asked = Asked(loaded, seconds, _known(about, Asked(loaded)), not no_probe)
    seen = looked_at.look(loaded, diagnosis.compiler(asked))
    hosts = tuple(diagnosis.judge(asked, each.host, each.compiled.loaded, each.seen) for each in seen)
    found = diagnosis.Diagnosis(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), asked, hosts)
    if format_ == "json":
        import json

        typer.echo(json.dumps(shown.plain(found), ensure_ascii=False, indent=2))
    else:
        sys.stdout.write(shown.table(found, width=min(screen.result().width, shown.WIDEST)))
    if how := shown.wants_root(found) and looked_at.as_root():
        typer.echo(f"hostguard: root would see more: {how}", err=True)
    raise typer.Exit(found.exit())


def _known(word: str, asked: Asked) -> str:
    """The provider, service or unit that is meant; a unit may be named without `.service`, as systemctl takes it."""
    import difflib

    words = asked.words
    for meant in (word, f"{word}.service"):
        if not word or meant in words:
            return meant if word else ""
    near = dict.fromkeys(difflib.get_close_matches(word, [*words, *(each.removesuffix(".service") for each in words)]))
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(words) or 'none'}"
    raise Stop(Exit.CALL, [f"{word}: no provider, service or unit of the policy: {hint}"])
