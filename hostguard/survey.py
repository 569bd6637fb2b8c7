"""A look at several hosts, and what is made of each: its verdict, or its plan (pure)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from hostguard import planned, verdict, waivers
from hostguard.bundle import Compiled
from hostguard.planned import Planned
from hostguard.seen import Seen, in_words_of
from hostguard.waivers import Waived


@dataclass(frozen=True)
class Looked:
    """A host, its own policy, and what was seen there; or why nothing was."""

    host: str
    compiled: Compiled
    seen: Seen | str


def judged(looked: Iterable[Looked], day: datetime.date) -> list[Waived]:
    """Each host's verdict, with the waivers of its policy that hold on `day`. Of a host that could not be seen every
    control is unknown."""
    found = []
    for each in looked:
        if isinstance(each.seen, str):
            report = verdict.unreached(each.compiled, each.host, each.seen)
        else:
            report = verdict.judge(each.compiled, each.host, each.seen)
        found.append(waivers.heed(report, each.compiled.loaded.policy.waivers, day))
    return found


def plans(looked: Iterable[Looked]) -> list[tuple[str, Planned | str]]:
    """Each host's plan, or why there is none: what is odd about one host hides no other's."""
    found: list[tuple[str, Planned | str]] = []
    for each in looked:
        try:
            found.append((each.host, each.seen if isinstance(each.seen, str) else planned.of(each.compiled, each.seen)))
        except Exception as error:  # whatever one host is, the others are shown
            found.append((each.host, f"its answer can't be shown: {in_words_of(error)}"))
    return found
