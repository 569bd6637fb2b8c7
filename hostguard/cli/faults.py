"""hostguard rehearse --faults: every fault of a provider at once, with the gateway and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hostguard.cli.failure import Stop, need_one_of
from hostguard.status import Exit

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from hostguard.policy.gateway import Gateway
    from hostguard.policy.load import LoadedPolicy
    from hostguard.rehearse.faults.fault import Fault as Rule
    from hostguard.rehearse.faults.result import Fault, Faults, Way

CALLER = 30.0
"""Seconds after which what stands in front of applications commonly gives up (gunicorn, PHP-FPM, AWS API Gateway)."""
WORDS = {"held": ("held", "green"), "wrong": ("WRONG", "bold red"), "no_proof": ("no proof", "yellow"),
         "not_tried": ("not tried", "yellow")}  # fmt: skip
ARTICLE = (
    "By the article's Envoy (JSON, --all): its cluster as it is printed, with the type of its TLS context, without "
    "which Envoy refuses it, and a plain listener."
)


@dataclass(frozen=True)
class Asked:
    """What the command line says. `caller` as it is written there."""

    only: tuple[str, ...]
    providers: tuple[str, ...]
    fast: bool
    caller: str | None
    program: Path | None


def rehearse(loaded: LoadedPolicy, asked: Asked, format_: str, everything: bool, output: Path | None) -> int:
    """Have every fault come, and tell what came of it, there or on stdout; the exit code."""
    if output and format_ == "table":
        raise Stop(Exit.CALL, ["--output: only with --format json or --format html"])
    from hostguard.cli.whole_file import written

    found = _rehearsed(loaded, asked)
    if format_ == "table":
        _show(found, everything)
    else:
        written(_for_others(found, format_), output)
    summary = found["summary"]
    if summary["wrong"]:
        return Exit.FAILED
    return Exit.UNSEEN if summary["no_proof"] or summary["not_tried"] else Exit.WELL


def _for_others(found: Faults, format_: str) -> str:
    if format_ == "json":
        import json

        return json.dumps(found, ensure_ascii=False, indent=2) + "\n"
    from hostguard.report.faults import render

    return render(found)


def _rehearsed(loaded: LoadedPolicy, asked: Asked) -> Faults:
    from hostguard.rehearse.faults import judge

    g = _gateway(loaded)
    chosen, left_out = _providers(g, asked.providers)
    rules = _faults(asked.only)
    found = _once(loaded, asked, chosen, rules, left_out)
    busy = {(fault["provider"], fault["id"]) for fault in found["faults"] if judge.is_busy(fault)}
    if not busy:
        return found
    few = [rule for rule in rules if any(rule.id == id for _, id in busy)]
    again = _once(loaded, asked, [each for each in chosen if any(each == of for of, _ in busy)], few, [])
    newer = {(fault["provider"], fault["id"]): fault for fault in again["faults"]}
    faults = [
        newer.get(key, fault) if key in busy else fault
        for fault in found["faults"]
        for key in [(fault["provider"], fault["id"])]
    ]
    took = found["summary"]["seconds"] + again["summary"]["seconds"]
    return {**found, "faults": faults, "summary": judge.count(faults, took)}


def _once(
    loaded: LoadedPolicy, asked: Asked, providers: Sequence[str], rules: Sequence[Rule], left_out: Sequence[str]
) -> Faults:
    from hostguard.bundle import compile_policy
    from hostguard.cli import screen
    from hostguard.cli.rehearse import accounts, forbidden
    from hostguard.rehearse.faults import run, stage
    from hostguard.rehearse.faults.clones import cloned
    from hostguard.rehearse.namespaces import Forbidden

    try:
        made = cloned(loaded.policy, providers, rules, fast=asked.fast, caller=_caller(asked.caller))
    except ValueError as error:
        raise Stop(Exit.CALL, [f"{loaded.path}: {error}"]) from None
    if not made.acts:
        raise Stop(Exit.CALL, [f"{loaded.path}: {each}" for each in made.left_out])
    acts = []
    for act in made.acts:
        behind = run.behind(act, made.plans, str(asked.program) if asked.program else None)
        if behind.why_not:
            raise Stop(Exit.UNSEEN, [f"faults are not rehearsed: {behind.why_not}"])
        bundle = compile_policy(replace(loaded, policy=act.policy)).bundle()
        acts.append(stage.Act(bundle, behind, act.clones, act.control))
    play = stage.Play(tuple(acts), made.plans, frozenset(accounts(loaded.policy)), asked.fast)
    try:
        with screen.progress() as progress:
            return run.rehearse(
                play,
                {"path": loaded.path, "sha256": loaded.sha256},
                [*left_out, *made.left_out],
                lambda key: loaded.line_of(key.split(".")),
                progress,
            )
    except Forbidden as refused:
        raise forbidden(refused) from None
    except run.Ended as ended:
        raise Stop(Exit.UNSEEN, [f"the rehearsal ended early: {ended}"]) from None


def _gateway(loaded: LoadedPolicy) -> Gateway:
    from hostguard.policy.gateway import derive

    g = derive(loaded.policy)
    if g is None:
        words = "the policy has no section `gateway`: faults are what it is there for"
        raise Stop(Exit.CALL, [f"{loaded.path}: {words}"])
    if not g.manage:
        words = "gateway.manage is false: somebody else configures it, and the policy has no numbers to rehearse"
        raise Stop(Exit.CALL, [f"{loaded.path}: {words}"])
    return g


def _faults(only: Sequence[str]) -> list[Rule]:
    from hostguard.rehearse.faults.cases import FAULTS

    for each in only:
        need_one_of("--only", each, FAULTS)
    return [fault for id, fault in FAULTS.items() if not only or id in only]


def _providers(g: Gateway, asked: Sequence[str]) -> tuple[list[str], list[str]]:
    """Of which the numbers are rehearsed; and what is left out, in words."""
    from hostguard.rehearse.faults.clones import MOST_SETS, distinct

    for each in asked:
        need_one_of("--provider", each, [up.name for up in g.upstreams])
    if asked:
        return list(dict.fromkeys(asked)), []
    sets = distinct(g)
    same = [f"{', '.join(others)}: the same numbers as {first}" for first, *others in sets if others]
    more = [each[0] for each in sets[MOST_SETS:]]
    late = [f"{', '.join(more)}: more than {MOST_SETS} at once would measure this machine: --provider"] if more else []
    return [each[0] for each in sets[:MOST_SETS]], [*same, *late]


def _caller(said: str | None) -> float:
    from hostguard.policy.grammar import duration

    if said is None:
        return CALLER
    try:
        return duration(said)
    except ValueError as error:
        raise Stop(Exit.CALL, [f"--caller: found {said!r}, expected {error}"]) from None


# For people


def _show(found: Faults, everything: bool) -> None:
    from rich.text import Text

    from hostguard.cli import screen
    from hostguard.cli.rehearse import MORE_ACCOUNTS
    from hostguard.rehearse.outcome import ONE_ACCOUNT

    console = screen.result()
    providers = list(dict.fromkeys(fault["provider"] for fault in found["faults"]))
    for provider in providers:
        if len(providers) > 1:
            console.print(Text(f"Provider {provider}", "bold"))
        _table(console, [fault for fault in found["faults"] if fault["provider"] == provider])
        console.print()
    console.print(NOTE)
    for fault in found["faults"]:
        if everything or fault["verdict"] != "held":
            console.print(_detail(fault, everything))
    for reason in found["not_rehearsed"]:
        console.print(Text.assemble(("Not rehearsed: ", "yellow"), reason))
    if any(fault["actual"] == ONE_ACCOUNT for fault in found["faults"]):
        console.print(Text.assemble(("Not tried: ", "yellow"), MORE_ACCOUNTS))
    if found["fast"]:
        console.print("In a hurry (--fast): outlier.ejection and outlier.interval are a tenth of the policy's.")
    if everything:
        console.print(ARTICLE)
    summary, version = found["summary"], found["program"]["version"]
    console.print(
        f"{_in_words(len(found['faults']))} in {summary['seconds']:.0f} s, Envoy {version}: "
        f"{summary['held']} held, {summary['wrong']} wrong, {summary['no_proof']} without proof, "
        f"{summary['not_tried']} not tried."
    )


def _table(console: Console, faults: Sequence[Fault]) -> None:
    """A line a fault, as wide as the terminal: what was seen is cut first."""
    from rich.table import Table
    from rich.text import Text

    kept = [(fault["id"], WORDS[fault["verdict"]][0], _key(fault)) for fault in faults]
    name, word, key = (max(map(len, column)) for column in zip(*kept, strict=True))
    seen = max((console.width - name - word - key - 4 * GAP) // 2, LEAST)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for title, width in (("fault", name), ("directly", seen), ("with the gateway", seen), ("", word), ("key", key)):
        table.add_column(title, no_wrap=True, width=width)
    for fault in faults:
        direct = _brief(fault["direct"], seen, reached=False)
        gateway = _brief(fault["gateway"], seen, reached=True)
        table.add_row(fault["id"], direct, gateway, Text(*WORDS[fault["verdict"]]), _key(fault))
    console.print(table)


GAP, LEAST = 1, 12
"""Columns between two, and of what was seen at least."""
NOTE = "→ N: so many requests reached the provider, where it was not one for each."


def _brief(way: Way, width: int, *, reached: bool) -> str:
    """What the application got, cut to a width, and maybe how many requests reached the provider."""
    if way["not_tried"]:
        return "–"
    words, _, count = way["summary"].partition("; reached ")
    behind = f" → {count}" if count and reached else ""
    room = width - len(behind)
    return (words if len(words) <= room else words[: room - 1].rstrip() + "…") + behind


def _in_words(count: int) -> str:
    return "1 fault" if count == 1 else f"{count} faults"


def _key(fault: Fault) -> str:
    """As short as it can be: below its provider, or below the gateway."""
    return fault["key"].removeprefix(f"gateway.providers.{fault['provider']}.")


def _detail(fault: Fault, everything: bool) -> Text:
    from rich.text import Text

    word, style = WORDS[fault["verdict"]]
    line = f" (line {fault['line']})" if fault["line"] else ""
    said = [("expected", fault["expected"])]
    said += [("seen", fault["actual"])] if fault["actual"] else []
    if everything or fault["verdict"] == "wrong":
        # The keys stand in WAYS.
        said += [(name, _told(fault[way])) for name, way in WAYS]  # type: ignore[literal-required]
    said.append(("decides", f"{fault['key']}{line}: {fault['value']}"))
    text = Text.assemble((word, style), f" {fault['provider']}, {fault['id']}: {fault['title']}\n")
    for name, words in said:
        text.append(f"    {name:<10}{words}\n")
    return text


WAYS = (("directly", "direct"), ("article", "article"), ("gateway", "gateway"))


def _told(way: Way) -> str:
    return f"not tried: {way['not_tried']}" if way["not_tried"] else way["summary"]
