"""A fault rehearsal from its start to its end, and what it tells."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hostguard.host.program import run
from hostguard.host.resource import HostError
from hostguard.policy.gateway import derive
from hostguard.rehearse import gateway
from hostguard.rehearse.certificates import Leaf
from hostguard.rehearse.faults import clones as cloning
from hostguard.rehearse.faults import judge, stage
from hostguard.rehearse.faults.clones import Act
from hostguard.rehearse.faults.result import SCHEMA, Fault, Faults, PolicyFile
from hostguard.rehearse.faults.running import DRAIN
from hostguard.rehearse.faults.site import Plan
from hostguard.rehearse.namespaces import perform

VERSION = re.compile(r"/(\d+\.\d+\.\d+)")


class Ended(Exception):
    """It ended early. The text says why."""


def behind(act: Act, plans: Iterable[Plan], program: str | None) -> gateway.Behind:
    """What the stage needs for the gateway of an act; `plans` are those of all acts."""
    g = derive(act.policy)
    if g is None:
        raise ValueError("the policy has no gateway")
    found = gateway.behind(g, program)
    every = tuple(host for plan in plans for host in plan.hosts)
    leaves = {
        "provider": Leaf(every),
        "expired": Leaf(every, days=-1),
        "other-name": Leaf((f"other.{cloning.DOMAIN}",)),
        "other-ca": Leaf(every, authority="foreign"),
        cloning.CLIENT: Leaf((f"client.{cloning.DOMAIN}",)),
    }
    return replace(found, leaves=leaves, authorities=("ca", "foreign"), drain=DRAIN)


def rehearse(
    play: stage.Play,
    policy: PolicyFile,
    left_out: Sequence[str],
    line_of: Callable[[str], int | None],
    progress: Callable[[str], None],
) -> Faults:
    """Raises Ended where it did not come to an end, and Forbidden where this machine allows no namespaces."""
    began = time.monotonic()
    heard = judge.Heard(not_rehearsed=list(left_out))
    for told in perform(lambda all_accounts, tell: stage.play(play, all_accounts, tell)):
        heard.hear(told)
        if "step" in told:
            progress(told["step"])
    if heard.error:
        raise Ended(heard.error)
    program = play.acts[0].behind.program
    faults: list[Fault] = judge.rows(play.clones, heard, line_of)
    return {
        "schema": SCHEMA,
        "generated": datetime.now(UTC).isoformat(timespec="seconds"),
        "policy": policy,
        "program": {"path": program, "version": version(program)},
        "fast": play.fast,
        "summary": judge.count(faults, time.monotonic() - began),
        "not_rehearsed": heard.not_rehearsed,
        "faults": faults,
    }


def version(program: str) -> str:
    """Of an Envoy; "" where it does not say."""
    try:
        said = run([program, "--version"]).stdout
    except (HostError, OSError):
        return ""
    found = VERSION.search(said)
    return found[1] if found else ""
