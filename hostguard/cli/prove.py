"""hostguard prove: what a host in service holds, tried on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hostguard.cli.failure import Stop
from hostguard.cli.options import (
    EverythingOption,
    HostsOption,
    PolicyOption,
    SizeOption,
    SudoOption,
    WithinOption,
    table_or_json,
)
from hostguard.cli.policy import load
from hostguard.status import Exit
from hostguard.visible import one_line

if TYPE_CHECKING:
    from hostguard.attack.aim import Attempt
    from hostguard.policy.model import Egress

STYLES = {"held": "green", "out": "bold red"}
WORDS = {"held": "held", "out": "GETS OUT", "unknown": "not proven", "absent": "not on this host"}


def command(
    policy: PolicyOption = None,
    host: HostsOption = None,
    sudo: SudoOption = False,
    destinations: Annotated[
        bool,
        typer.Option("--destinations", help="Also connect to providers and resolvers, as accounts that may not."),
    ] = False,
    everything: EverythingOption = False,
    format_: Annotated[str, table_or_json("hostguard.proof/1")] = "table",
    answer_within: WithinOption = None,
    answer_size: SizeOption = None,
) -> None:
    """Try the harmless ways out on a host in service.

    Sends one small packet for each, to addresses that are reserved for documentation, as the accounts that would try. A
    way is held if the host's own kernel was seen to hold it, and not proven if the kernel does not tell. Changes
    nothing.
    """
    from hostguard.attack import aim
    from hostguard.cli import targets
    from hostguard.host.attack.shot import FIRST_MARK, Shot
    from hostguard.policy.gateway import derive

    loaded = load(policy, elsewhere=bool(host))
    egress = loaded.policy.egress
    if egress is None:
        raise Stop(Exit.CALL, [f"{loaded.path}: the policy has no section `egress`: there is nothing to prove"])
    if egress.mode == "observe":
        raise Stop(Exit.CALL, [f"{loaded.path}: egress.mode is observe, which holds nothing: all would get out"])
    gateway = derive(loaded.policy)
    tries, kept_back = aim.harmless(egress, destinations, gateway), aim.kept_back(egress, gateway)
    shots = [
        {"account": each.account, "shot": Shot(each.case.way, each.address, each.port, FIRST_MARK + number,
                                               options=dict(each.case.options)).plain()}
        for number, each in enumerate(tries)
    ]  # fmt: skip
    chosen = targets.chosen(None, host, None, sudo=sudo, limit=None, forks=None,
                            answer_within=answer_within, answer_size=answer_size)  # fmt: skip
    found = chosen.ask({"do": "prove", "shots": shots})
    for name, answer in found.items():
        if "results" in answer and len(answer["results"]) != len(shots):
            found[name] = answer = {"error": f"expected {len(shots)} results, found {len(answer['results'])}"}
        if "error" in answer:
            typer.echo(f"hostguard: {name}: {one_line(answer['error'])}", err=True)
    hosts = {name: _results(tries, answer["results"], egress) for name, answer in found.items() if "results" in answer}
    if format_ == "json":
        from hostguard.report import proof

        typer.echo(proof.render(hosts, kept_back))
    else:
        for name, results in hosts.items():
            _table(name, results, everything)
        if kept_back:
            typer.echo(f"Not tried on a host in service, but by `hostguard rehearse`: {_listed(kept_back)}.")
    statuses = {result["status"] for results in hosts.values() for result in results if not result["left_open_by"]}
    if "out" in statuses:
        raise typer.Exit(Exit.FAILED)
    # A host without a network holds nothing.
    silent = any(all(result["status"] != "held" for result in results) for results in hosts.values())
    raise typer.Exit(Exit.UNSEEN if "unknown" in statuses or silent or len(hosts) < len(found) else 0)


def _listed(kept_back: Mapping[str, str]) -> str:
    """The ways, by the reason."""
    reasons = dict.fromkeys(kept_back.values())
    return "; ".join(f"{', '.join(id for id in kept_back if kept_back[id] == why)} ({why})" for why in reasons)


def _results(tries: Sequence[Attempt], said: Sequence[Mapping[str, Any]], egress: Egress) -> list[dict[str, Any]]:
    """`left_open_by` is the policy's own word for a way that it leaves open; such a way may get out."""
    open_by = "egress.frames: allow" if egress.frames == "allow" else ""
    return [
        {"id": each.case.id, "tries": each.name, "layer": each.case.layer, "account": each.account,
         "address": each.address, "port": each.port, "status": result["status"],
         "evidence": one_line(result["evidence"]), "left_open_by": open_by if each.case.holds == "frames" else ""}
        for each, result in zip(tries, said, strict=True)
    ]  # fmt: skip


def _table(name: str, results: Sequence[Mapping[str, Any]], everything: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from hostguard.cli import screen
    from hostguard.report import proof

    console = screen.result()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in (*(["id"] if everything else []), "way out", "as", "to", "", "seen by"):
        table.add_column(column, overflow="fold")
    for result in results:
        if everything or result["status"] in ("out", "unknown"):
            word = Text(WORDS[result["status"]], STYLES.get(result["status"], "yellow"))
            id_ = [result["id"]] if everything else []
            table.add_row(*id_, result["tries"], result["account"], result["address"], word, Text(result["evidence"]))
    if table.row_count:
        console.print(table)
        console.print()
    counted = proof.summary(results)
    left_open = [result for result in results if result["status"] == "out" and result["left_open_by"]]
    by_policy = f" ({len(left_open)} left open by the policy, {left_open[0]['left_open_by']})" if left_open else ""
    console.print(
        f"{name}: {counted['held']} of {len(results)} ways out are held, {counted['out']} get out{by_policy}, "
        f"{counted['unknown']} are not proven, {counted['absent']} do not exist on this host."
    )
