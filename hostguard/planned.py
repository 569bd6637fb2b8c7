"""Policy × what was seen → what an apply would do to a host, and what that would cost it (pure)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hostguard import impact, verdict
from hostguard.bundle import Compiled
from hostguard.controls import CATALOGUE
from hostguard.host.resource import UNREADABLE, Difference, Resource
from hostguard.seen import Seen, in_words_of

if TYPE_CHECKING:
    from hostguard.result import Result

Differences = Sequence[tuple[Resource, Sequence[Difference]]]
SCHEMA = "hostguard.plan/1"
SOCKETS = "egress.processes/sockets"
PASSAGE = "egress.passage"
"""What no apply mends, and nobody should apply without having read."""
CUTTING = ("ruleset", "ipset", "frames")
NOTHING = ("", "none", "unset", "absent", "missing")
"""How a kind says that there is nothing yet."""
ADD, CHANGE, REMOVE = "add", "change", "remove"


@dataclass(frozen=True)
class Planned:
    """A host's plan. `unread`: what could not be read; `missing`: what the policy names and the host has not; `cuts`:
    what enforcing would cut, `cuts_unknown` why that is not known, `session` why the connection that asks would be cut;
    `taken`: what becomes of the sanctioned ways."""

    differences: Differences
    unread: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    cuts: tuple[impact.Cut, ...] | None = None
    """None: the rules stay as they are, or nobody can say."""
    cuts_unknown: str = ""
    session: str = ""
    enforcing: bool = True
    taken: Result | None = None

    @property
    def blocked(self) -> list[str]:
        """What is in the way: apply refuses until it is gone."""
        reasons: set[str] = set()
        for resource, found in self.differences:
            # Of a resource that lacks several accounts each is one reason, whoever else lacks it.
            each = resource["blocked"].split("; ") if resource.get("blocked") else [d.blocked for d in found]
            reasons.update(filter(None, each))
        return sorted(reasons)

    @property
    def owed(self) -> list[str]:
        return sorted({d.restart for _, found in self.differences for d in found if d.restart})

    @property
    def count(self) -> Counter[str]:
        """How many differences an apply adds, changes and removes."""
        return Counter(kind_of(each) for _, found in self.differences for each in found)

    def changes(self) -> list[dict[str, str]]:
        return [
            {"control": resource["control"], "resource": resource["id"], "does": kind_of(each), "field": each.field,
             "have": each.have, "want": each.want, "blocked": each.blocked, "restart": each.restart}
            for resource, found in self.differences for each in found
        ]  # fmt: skip

    def plain(self) -> dict[str, Any]:
        count = self.count
        return {
            "summary": {name: count[name] for name in (ADD, CHANGE, REMOVE)},
            "changes": self.changes(),
            "blocked": self.blocked,
            "restarts": self.owed,
            "missing": list(self.missing),
            "unread": list(self.unread),
            "cuts": [{"process": cut.process, "account": cut.account, "what": cut.what, "keep_with": cut.advice}
                     for cut in self.cuts or ()],
            "cuts_unknown": self.cuts_unknown,
            "session": self.session,
            "sanctioned_ways": self.taken.actual if self.taken and self.taken.status in ("fail", "unknown") else "",
        }  # fmt: skip


def kind_of(difference: Difference) -> str:
    return REMOVE if not difference.want else ADD if difference.have in NOTHING else CHANGE


def of(compiled: Compiled, seen: Seen) -> Planned:
    """The plan of one host."""
    differences = seen.differences()
    egress, said = compiled.loaded.policy.egress, seen.evidence.get(SOCKETS, {})
    cuts: tuple[impact.Cut, ...] | None = None
    unknown, session = "", ""
    if egress and any(resource["kind"] in CUTTING for resource, _ in differences):
        unknown = said.get("unreadable", "")
        try:
            if "said" in said:
                cuts = tuple(impact.cuts(egress, said["said"]))
                session = impact.session_cut(egress, said["said"]["session"])
        except Exception as error:  # what a host's kernel is said to have answered may be anything
            unknown = f"what the host says makes no sense: {in_words_of(error)}"
    taken = verdict.judge(compiled, "", seen, [control for control in CATALOGUE if control.id == PASSAGE]).results
    return Planned(
        tuple(differences), tuple(_unread(seen)), tuple(seen.missing()), cuts, unknown, session,
        bool(egress and egress.mode == "enforce"), taken[0],
    )  # fmt: skip


def _unread(seen: Seen) -> Iterable[str]:
    reasons = (
        seen.observations[r["id"]].reason
        for r in seen.resources
        if seen.observations[r["id"]].state == UNREADABLE and not r.get("blocked")
    )
    return dict.fromkeys(reasons)


def render(policy_path: str, policy_sha256: str, hosts: Iterable[tuple[str, Planned | str]]) -> str:
    """`hostguard.plan/1`; a host that was not seen has an `error` alone."""
    described = [
        {"host": host, "error": plan} if isinstance(plan, str) else {"host": host, **plan.plain()}
        for host, plan in hosts
    ]
    plain = {"schema": SCHEMA, "policy": {"path": policy_path, "sha256": policy_sha256}, "hosts": described}
    return json.dumps(plain, ensure_ascii=False, indent=2) + "\n"


class NotThisPlan(Exception):
    """A saved plan that is none, or is another host's, another policy's, or of a host as it is no more."""


def must_be(saved: bytes, host: str, policy_sha256: str, now: Planned) -> None:
    """Raises NotThisPlan unless a saved plan is what would be done now."""
    try:
        plain = json.loads(saved)
        if plain["schema"] != SCHEMA:
            raise NotThisPlan(f"found the schema {plain['schema']!a}, expected {SCHEMA}")
        (then,) = (each for each in plain["hosts"] if each["host"] == host)
        changes, policy = then["changes"], plain["policy"]["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        expected = f"what `hostguard plan --format json` wrote of {host}"
        raise NotThisPlan(f"found no plan of this host, expected {expected}") from None
    if policy != policy_sha256:
        raise NotThisPlan("the policy is another one now: plan again")
    if changes != now.changes():
        raise NotThisPlan("this host is not as it was when that was planned: plan again")
