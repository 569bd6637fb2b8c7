"""hostguard validate: check policies, touch nothing."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hostguard.cli.failure import Stop
from hostguard.cli.fleet import overlays, today
from hostguard.cli.options import InventoryOption, LimitOption, PolicyOption, table_or_json
from hostguard.cli.policy import look, tell_weakened, wrong
from hostguard.status import Exit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hostguard.policy.load import LoadedPolicy, Problem

SCHEMA = "hostguard.validation/1"
STDIN = "-"
LARGEST = 64 * 1024 * 1024 + 1


def command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Policy files, as --policy; - for standard input.", show_default=False),
    ] = None,
    policy: PolicyOption = None,
    format_: Annotated[str, table_or_json(SCHEMA)] = "table",
    inventory: InventoryOption = None,
    limit: LimitOption = None,
) -> None:
    """Check policies; touches nothing.

    Shows every error of every file at once, each with its line and key, the value found and the value expected. With -i
    it checks the policy of every host, as the inventory's hostguard_policy refines it; no host is asked.
    """
    named = (*(files or ()), *([policy] if policy else ())) or (None,)
    found = list(_all(named, inventory, limit))
    problems = [problem for _, outcome in found if isinstance(outcome, tuple) for problem in outcome]
    if format_ == "json":
        import json

        plain = {"schema": SCHEMA, "policies": [_plain(name, outcome) for name, outcome in found]}
        typer.echo(json.dumps(plain, ensure_ascii=False, indent=2))
        raise typer.Exit(Exit.CALL if problems else 0)
    for name, outcome in found:
        if not isinstance(outcome, tuple):
            _told(name, outcome)
    if problems:
        raise wrong(list(dict.fromkeys(problems)))


def _all(
    named: Sequence[Path | None], inventory: list[str] | None, limit: str | None
) -> Iterator[tuple[str, LoadedPolicy | tuple[Problem, ...]]]:
    """Each policy by its name, or what is wrong with it."""
    from hostguard.policy.load import PolicyError

    for each in named:
        for host, overlay in _overlays(inventory, limit):
            of_host = f" for {host}" if host else ""
            try:
                loaded = _one(each, overlay)
                yield f"{loaded.path}{of_host}", loaded
            except PolicyError as error:
                yield f"{each or error.problems[0].file}{of_host}", error.problems


def _one(named: Path | None, overlay: dict[str, Any]) -> LoadedPolicy:
    from hostguard.policy import load as loading

    overlays = [("hostguard_policy", overlay)] if overlay else []
    if str(named) == STDIN:
        return loading.parse(sys.stdin.buffer.read(LARGEST), "standard input", overlays, Path())
    return loading.load(loading.find(named), overlays) if overlays else look(named)


def _overlays(inventory: list[str] | None, limit: str | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """What an inventory refines for each host; ("", {}) without one."""
    if not inventory:
        if limit is not None:
            raise Stop(Exit.CALL, ["--limit: only with -i INVENTORY"])
        yield "", {}
        return
    yield from overlays(inventory, limit)


def _plain(name: str, outcome: LoadedPolicy | tuple[Problem, ...]) -> dict[str, Any]:
    if isinstance(outcome, tuple):
        return {"policy": name, "valid": False, "problems": [asdict(each) for each in outcome], "warnings": []}
    warnings = [asdict(each) for each in outcome.warnings]
    return {"policy": name, "valid": True, "sha256": outcome.sha256, "problems": [], "warnings": warnings}


def _told(name: str, loaded: LoadedPolicy) -> None:
    if loaded.policy.waivers:
        from hostguard import waivers

        for warning in waivers.cautions(loaded.policy.waivers, today()):
            typer.echo(f"hostguard: warning: {loaded.path}: {warning}", err=True)
    tell_weakened(loaded)
    typer.echo(f"{name}: valid; it manages {', '.join(loaded.policy.sections) or 'nothing'}")
