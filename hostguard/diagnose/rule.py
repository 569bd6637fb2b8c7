"""What a rule of the diagnosis is: one fault, how people meet it, what to look at, and what to make of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hostguard.control import Request
from hostguard.policy import Policy, Provider
from hostguard.policy.gateway import UNIT
from hostguard.policy.load import LoadedPolicy
from hostguard.policy.sizing import Sizing, size

HOUR = 3600.0


@dataclass(frozen=True)
class Asked:
    """What a rule is asked of: a policy, and how much of the host.

    `since`: of what has a time, the last so many seconds. `only`: a provider, a service or a unit; "" is all of them.
    `probes`: whether a rule may connect to what the policy sanctions.
    """

    loaded: LoadedPolicy
    since: float = HOUR
    only: str = ""
    probes: bool = True

    @property
    def policy(self) -> Policy:
        return self.loaded.policy

    @cached_property
    def sizing(self) -> Sizing:
        return size(self.policy)

    @cached_property
    def units(self) -> tuple[str, ...]:
        """The services that the policy names, and the gateway's own."""
        policy = self.policy
        named = [*(policy.limits.units if policy.limits else ())]
        named += [unit for each in (policy.slices or {}).values() for unit in each.units]
        named += [UNIT] if policy.gateway and policy.gateway.manage else []
        return tuple(sorted({*named}))

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What `only` may be."""
        egress = self.policy.egress
        return (*(egress.providers if egress else ()), *(egress.services if egress else ()), *self.units)

    @property
    def providers(self) -> dict[str, Provider]:
        """The providers that are asked about."""
        found = self.policy.egress.providers if self.policy.egress else {}
        return {name: each for name, each in found.items() if self.is_about(name)}

    def is_about(self, *concerns: str) -> bool:
        """Whether something of these providers, services and units was asked for; of none is of the whole host."""
        return not self.only or not concerns or self.only in concerns


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One fault that was found. Texts are plain words, and may hold a host's: they are made to print by who shows them.

    `subject` is what it is about (a provider, a unit, an account, a name); `seen` the fact with its numbers; `where`
    the exact file, counter or line that says so; `means` what follows for an application; `mend` what to do. `key` is
    the path in the policy of what decides it, () for none. `unsure` says why it is only likely; "" is seen. `concerns`
    names the providers, services and units that it is of; () is the whole host.
    """

    subject: str
    seen: str
    where: str
    means: str
    mend: str
    key: tuple[str | int, ...] = ()
    unsure: str = ""
    concerns: tuple[str, ...] = ()

    @property
    def sure(self) -> Literal["seen", "likely"]:
        return "likely" if self.unsure else "seen"


@dataclass(frozen=True)
class Unread:
    """Something that a rule had to see, and why it could not."""

    why: str


@dataclass(frozen=True)
class Fact:
    """Something that a rule saw and that is well: told to who hears that nothing is found."""

    text: str


Said = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One fault, and all about it. `id` is stable for ever.

    `symptoms` are the words in which people meet it, `article` the row of the article that names it ("" for none),
    `by_hand` commands that show it, `means` and `mend` Markdown for its page; `looks_at` says in a line what was looked
    at, for who hears that all is well.
    """

    id: str
    title: str
    symptoms: tuple[str, ...]
    article: str
    by_hand: str
    means: str
    mend: str
    looks_at: str
    told_by: tuple[str, ...] = ()
    """Rules that see the same fault from elsewhere. Where one of them has a finding about the same provider, this one's
    is told with it: one fault is one finding."""
    asks: Callable[[Asked], Mapping[str, Request] | str]
    """What is asked of a host; or in words why this rule has nothing to ask: it is told as left out."""
    judges: Callable[[Asked, Said], Iterable[Finding | Unread | Fact]]
    """Called with what was said to each request, once all of them were answered. Pure."""
