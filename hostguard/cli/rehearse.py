"""hostguard rehearse: the policy in throw-away namespaces, and what gets out of them."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hostguard.cli import called
from hostguard.cli.failure import Stop
from hostguard.cli.options import EverythingOption, OutputOption, PolicyOption, formats
from hostguard.cli.policy import load
from hostguard.status import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from hostguard.attack.aim import Attempt
    from hostguard.attack.case import Case
    from hostguard.policy import Policy
    from hostguard.policy.load import LoadedPolicy
    from hostguard.rehearse.outcome import Figure, Outcome, Verdict

SCHEMA = "hostguard.rehearsal/1"
PAGE = "html"
MORE_ACCOUNTS = (
    "ways that are held by account can't be tried with one account alone: install newuidmap (Debian: uidmap) and give "
    "this user a range in /etc/subuid and /etc/subgid, or rehearse as root."
)


def command(
    policy: PolicyOption = None,
    partial_ok: Annotated[
        bool, typer.Option("--partial-ok", help="Exit with 0 even if some attempts could not be made here.")
    ] = False,
    everything: EverythingOption = False,
    program: Annotated[
        Path | None,
        typer.Option(
            "--program",
            metavar="FILE",
            help="The Envoy to run the policy's gateway by; else its own, else the one on PATH.",
            show_default=False,
        ),
    ] = None,
    faults: Annotated[
        bool, typer.Option("--faults", help="Have the providers of the gateway fail, in every way, instead.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="FAULT", help="With --faults: this one; can be repeated.")
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="NAME", help="With --faults: the numbers of this one; can be repeated."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="With --faults: `outlier.ejection` and `outlier.interval` a tenth as long.")
    ] = False,
    caller: Annotated[
        str | None,
        typer.Option("--caller", metavar="TIME", help="With --faults: how long those wait who ask it (30s)."),
    ] = None,
    format_: Annotated[
        str,
        formats("table", PAGE, "json", says=f" ({SCHEMA}); with --faults alone {PAGE}, and json is hostguard.faults/1"),
    ] = "table",
    output: OutputOption = None,
) -> None:
    """Try the policy in throw-away namespaces.

    Applies it with the real code on the real kernel, tries some hundreds of ways out before and after, and shows which
    ways are allowed, which are held, and which hostguard does not hold. With --faults it has providers fail behind the
    real gateway, all at once, and shows what applications get of it, with the gateway and without. Needs no root and
    leaves nothing behind.
    """
    from hostguard.cli import faults as failing

    if faults:
        asked = failing.Asked(tuple(only or ()), tuple(provider or ()), fast, caller, program)
        code = failing.rehearse(ready(policy), asked, format_, everything, output)
        raise typer.Exit(0 if partial_ok and code == Exit.UNSEEN else code)
    given = {"--only": only, "--provider": provider, "--fast": fast, "--caller": caller, "--output": output,
             f"--format {PAGE}": format_ == PAGE}  # fmt: skip
    if alone := [name for name, value in given.items() if value]:
        raise Stop(Exit.CALL, [f"{', '.join(alone)}: only with --faults"])
    raise typer.Exit(ways_out(ready(policy), partial_ok, everything, program, format_))


def ready(policy: Path | None) -> LoadedPolicy:
    """The policy as it is rehearsed. Ends the command where there is nothing to rehearse, or nothing to do it with."""
    from hostguard.host.program import find

    loaded = load(policy, harmless=True)
    if loaded.policy.egress is None:
        raise Stop(Exit.CALL, [f"{loaded.path}: the policy has no section `egress`: there is nothing to rehearse"])
    missing = [name for name in ("iptables", "ip6tables", "ipset", "nft", "ip") if find(name) is None]
    if missing:
        install = "sudo apt install iptables ipset nftables iproute2"
        raise Stop(Exit.UNSEEN, [f"{', '.join(missing)}: not installed; on Debian: {install}"])
    if loaded.policy.egress.mode == "observe":
        typer.echo("hostguard: the policy observes; rehearsed as if it enforced", err=True)
        egress = loaded.policy.egress.model_copy(update={"mode": "enforce"})
        return replace(loaded, policy=loaded.policy.model_copy(update={"egress": egress}))
    return loaded


def forbidden(refused: Exception) -> Stop:
    """The end of the command where this machine allows no namespaces."""
    said = str(refused) if called.is_root() else f"{refused}: {called.again_as_root()}"
    return Stop(Exit.UNSEEN, [said])


def ways_out(loaded: LoadedPolicy, partial_ok: bool, everything: bool, program: Path | None, format_: str) -> int:
    """Try every way out, and print what came of it; the exit code."""
    from hostguard.attack.aim import attempts
    from hostguard.bundle import compile_policy
    from hostguard.cli import screen
    from hostguard.host.program import find
    from hostguard.policy.gateway import derive
    from hostguard.rehearse import gateway, links, stage
    from hostguard.rehearse.namespaces import Forbidden, perform
    from hostguard.rehearse.outcome import Outcome

    behind = None
    derived = derive(loaded.policy)
    if derived and derived.manage:
        behind = gateway.behind(derived, str(program) if program else None)
        if not behind.why_not:
            loaded = replace(loaded, policy=gateway.staged(loaded.policy))
    tries = attempts(loaded.policy.egress, links.LINK, derived)  # type: ignore[arg-type]  # looked at above
    if find("dnsmasq") is None:  # the stage says so
        tries = [attempt for attempt in tries if attempt.case.way not in ("name", "question")]
    bundle = compile_policy(loaded).bundle()
    outcome = Outcome(tries, loaded.policy.egress.frames)  # type: ignore[union-attr]  # looked at above
    try:
        with screen.progress() as progress:
            for told in perform(
                lambda all_accounts, tell: stage.play(
                    bundle, tries, accounts(loaded.policy), all_accounts, tell, behind
                )
            ):
                outcome.hear(told)
                progress(told.get("step", f"try {told['try'] + 1} of {len(tries)}" if "try" in told else "applied"))
    except Forbidden as refused:
        raise forbidden(refused) from None
    code = tell(outcome) if format_ == "json" else show(outcome, everything)
    return 0 if partial_ok and code == Exit.UNSEEN else code


def accounts(policy: Policy) -> set[str]:
    """Every account and group that the policy names."""
    from hostguard.policy.destinations import ASKER

    egress, secrets = policy.egress, policy.secrets
    found = {secrets.owner, secrets.group} if secrets else set()
    if egress:
        found |= {egress.proxy_user} if egress.proxy_user else set()
        found |= set(egress.resolver_users or ()) | ({ASKER} if egress.hosts else set())
        found |= {user for service in egress.services.values() for user in service.users or ()}
    gateway = policy.gateway
    if gateway:
        found |= {user for each in gateway.providers.values() for user in (*each.users, *filter(None, (each.group,)))}
        found |= set(gateway.metrics.users) if gateway.metrics else set()
    return found


def tell(outcome: Outcome) -> int:
    """Print what came of it for programs; the exit code."""
    import json

    if "error" in outcome.said:
        raise Stop(Exit.UNSEEN, [f"the rehearsal ended early: {outcome.said['error']}"])
    figure = outcome.figure()
    ways = [
        {"id": v.attempt.case.id, "tries": v.attempt.name, "layer": v.attempt.case.layer, "account": v.attempt.account,
         "address": v.attempt.address or v.attempt.source, "port": v.attempt.port,
         "sanctioned": bool(v.attempt.sanctioned), "before": v.before, "after": v.after, "outcome": v.word.name.lower(),
         "why": outcome.why_not_tried(number)}
        for number, v in enumerate(outcome.verdicts())
    ]  # fmt: skip
    steps = {step: outcome.said.get(step, {}).get("outcome", "not reached") for step in ("applied", "again")}
    plain = {"schema": SCHEMA, "summary": {**asdict(figure), **steps, "identical": bool(outcome.said.get("identical"))},
             "not_rehearsed": outcome.not_rehearsed, "ways": ways}  # fmt: skip
    typer.echo(json.dumps(plain, ensure_ascii=False, indent=2))
    return _code(outcome, figure)


def _code(outcome: Outcome, figure: Figure) -> int:
    if figure.wrong or not outcome.sound:
        return Exit.FAILED
    return Exit.UNSEEN if figure.unseen else 0


def show(outcome: Outcome, everything: bool) -> int:
    """Print what came of it; the exit code."""
    from rich.text import Text

    from hostguard.cli import screen
    from hostguard.rehearse.outcome import ONE_ACCOUNT, UNSEEN, WRONG, Word

    if "error" in outcome.said:
        raise Stop(Exit.UNSEEN, [f"the rehearsal ended early: {outcome.said['error']}"])
    verdicts = outcome.verdicts()
    console = screen.result()
    listed = [v for v in verdicts if everything or v.attempt.sanctioned or v.word in WRONG | UNSEEN]
    console.print(_each(listed, ids=everything))
    console.print()
    console.print(_by_layer([v for v in verdicts if not v.attempt.sanctioned]))
    console.print()
    for reason, names in _by_reason([v.attempt.case for v in verdicts if v.word is Word.NOT_HELD]).items():
        console.print(Text.assemble(("Not held: ", "yellow"), f"{', '.join(dict.fromkeys(names))}: {reason}"))
    left_open = [v.attempt.name for v in verdicts if v.word is Word.LEFT_OPEN]
    if left_open:
        head = f"Left open by the policy itself (egress.frames: allow), {len(left_open)} ways: "
        console.print(Text.assemble((head, "bold red"), ", ".join(dict.fromkeys(left_open))))
    absent = dict.fromkeys(v.attempt.name for v in verdicts if v.word is Word.ABSENT)
    if absent:
        console.print(Text.assemble(("Not available here: ", "yellow"), ", ".join(absent)))
    for reason in outcome.not_rehearsed:
        console.print(Text.assemble(("Not rehearsed: ", "yellow"), reason))
    applied, again = outcome.said.get("applied", {}), outcome.said.get("again", {})
    console.print(
        f"apply: {_outcome(applied)}; apply again: {_outcome(again)}; "
        f"rollback: {'identical to before' if outcome.said.get('identical') else 'NOT as before'}"
    )
    figure = outcome.figure()
    by_policy = f", {figure.left_open} of them left open by the policy" if figure.left_open else ""
    console.print(
        f"Escaped: {figure.escaped_before} of {figure.tried} before, "
        f"{figure.escaped_after} of {figure.tried} after{by_policy}. "
        f"{figure.allowed} sanctioned ways work, hostguard does not hold {figure.not_held} others, "
        f"{figure.wrong} are wrong, {figure.unseen} could not be seen."
    )
    for reason, count in outcome.reasons().items():
        said = MORE_ACCOUNTS if reason == ONE_ACCOUNT else reason
        console.print(Text.assemble((f"Not tried, {count} ways: ", "yellow"), said))
    return _code(outcome, figure)


def _by_reason(cases: Sequence[Case]) -> dict[str, list[str]]:
    """What is not held, by the reason."""
    found: dict[str, list[str]] = {}
    for case in cases:
        found.setdefault(case.held_by, []).append(case.tries)
    return found


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _each(verdicts: Sequence[Verdict], *, ids: bool) -> Table:
    from rich.text import Text

    table = _table(*(["id"] if ids else []), "attempt", "as", "to", "before", "after", "")
    for verdict in verdicts:
        attempt = verdict.attempt
        word = Text(verdict.word, STYLES.get(verdict.word, "yellow"))
        name = [attempt.case.id] if ids else []
        table.add_row(*name, attempt.name, _who(attempt), _to(attempt), verdict.before, verdict.after, word)
    return table


def _by_layer(verdicts: Sequence[Verdict]) -> Table:
    """How many ways there are of each layer, and how many of them got out."""
    table = _table("ways out", "tried", "out before", "out after", "held", "not held")
    for layer in dict.fromkeys(verdict.attempt.case.layer for verdict in verdicts):
        members = [v for v in verdicts if v.attempt.case.layer == layer and v.before]
        before, after = (sum(verdict.escaped[at] for verdict in members) for at in (0, 1))
        held = sum(v.word == "held" for v in members)
        unheld = sum(v.word in ("not held", "left open") for v in members)
        table.add_row(layer, *map(str, (len(members), before, after, held, unheld)))
    return table


STYLES = {"allowed": "green", "held": "green", "CUT OFF": "bold red", "GETS OUT": "bold red"}


def _outcome(answer: dict[str, Any]) -> str:
    more = answer.get("obstacles") or [answer["error"]] if "obstacles" in answer or "error" in answer else []
    return str(answer.get("outcome", "not reached")) + (f" ({'; '.join(more)})" if more else "")


def _who(attempt: Attempt) -> str:
    return "" if attempt.case.way == "answer" else attempt.account


def _to(attempt: Attempt) -> str:
    if attempt.case.way == "answer":
        return f"{attempt.source} from port {attempt.port}"
    return f"{attempt.address} {attempt.protocol} {attempt.port}" if attempt.protocol else attempt.address
