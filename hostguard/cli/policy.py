"""The policy that a command works on."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hostguard.cli.failure import Stop
from hostguard.status import Exit

if TYPE_CHECKING:
    from hostguard.policy.load import LoadedPolicy, Problem

UNMAPPED = 65534
"""/proc/sys/kernel/overflowuid, which nobody changes."""


def load(named: Path | None, *, harmless: bool = False, elsewhere: bool = False) -> LoadedPolicy:
    """The policy: which one, and its warnings, said on stderr. Every problem is said at once, and ends the command.

    Unless the command is harmless whatever the policy says, root follows none that others could have written. Without
    a file the one that this host keeps is taken, unless the command acts `elsewhere`: it says nothing of other hosts.
    """
    from hostguard.policy.load import PolicyError

    try:
        loaded = look(named, harmless=harmless, elsewhere=elsewhere, name=True)
    except PolicyError as error:
        raise wrong(error.problems) from None
    return loaded


def wrong(problems: Sequence[Problem]) -> Stop:
    count = len(problems)
    said = (line for problem in problems for line in (str(problem), *problem.excerpt.splitlines()))
    return Stop(Exit.CALL, [*said, f"{count} problem{'s' if count > 1 else ''}; nothing was touched"])


def look(named: Path | None, *, harmless: bool = True, elsewhere: bool = False, name: bool = False) -> LoadedPolicy:
    """The policy: which one (`name`), and its warnings, said on stderr. Raises PolicyError."""
    from hostguard.policy import load as loading

    try:
        path = loading.find(named)
    except loading.PolicyError:
        loaded = None if elsewhere else _kept()
        if loaded is None:
            raise
    else:
        if not harmless:
            _trust(path)
        loaded = loading.load(path)
        for file in () if harmless else loaded.files:
            _trust(file)
    if name and "JOURNAL_STREAM" not in os.environ:  # a unit's: the lines that an audit writes there name it
        where = Path(loaded.path).absolute() if Path(loaded.path).exists() else f"of {loaded.path}"
        typer.echo(f"hostguard: policy {where} (sha256 {loaded.sha256[:12]})", err=True)
    for warning in loaded.warnings:
        typer.echo(f"hostguard: warning: {warning}", err=True)
    return loaded


def _trust(path: Path) -> None:
    """Ends the command where root would follow what somebody else can write. A caller by sudo is trusted with his own
    files: he may do as root whatever they say."""
    from hostguard.host.facts import in_user_namespace
    from hostguard.policy.trust import distrusted

    if os.geteuid() != 0:
        return
    uids, gids = ({0} | {int(said) for said in (os.environ.get(name, ""),) if said.isdecimal()}
                  for name in ("SUDO_UID", "SUDO_GID"))  # fmt: skip
    if in_user_namespace():  # whoever is not mapped into it is nobody there, the machine's own root too
        uids, gids = uids | {UNMAPPED}, gids | {UNMAPPED}
    if reason := distrusted(path, uids, gids):
        raise Stop(
            Exit.CALL, [f"{path}: root follows no policy that others can write: {reason}", "nothing was touched"]
        )


def _kept() -> LoadedPolicy | None:
    """The policy that was applied to this host last, which the host keeps; None where there is none, or for who may not
    read it."""
    from hostguard.host import store
    from hostguard.host.resource import HostError
    from hostguard.policy import load as loading

    try:
        record = store.current()
    except (HostError, OSError):
        return None
    document = (record or {}).get("policy", {}).get("document")
    if record is None or not document:
        return None
    loaded = loading.of_variables(document, f"generation {record['number']}, applied to this host last")
    return replace(loaded, sha256=record["policy"]["sha256"])


def tell_weakened(loaded: LoadedPolicy) -> None:
    """Say on stderr what in the policy keeps a control from passing, a line for each value."""
    from hostguard.bundle import context_of, weakened
    from hostguard.control import Weakening
    from hostguard.controls import CATALOGUE

    context = context_of(loaded)  # nothing is compiled for it: that is long work where there are many networks
    waived: dict[Weakening, list[str]] = {}
    for control in CATALOGUE:
        if control.area in loaded.policy.sections:
            for weakening in weakened(control, loaded, context):
                waived.setdefault(weakening, []).append(control.id)
    for weakening, controls in waived.items():
        where = f"{loaded.path}:{weakening.line}" if weakening.line else loaded.path
        what = controls[0] if len(controls) == 1 else f"{len(controls)} controls ({controls[0]} and others)"
        said = f"{where}: {weakening}: {weakening.means}; the audit reports {what} as waived"
        typer.echo(f"hostguard: warning: {said}", err=True)
