"""What a fault is: how the provider behaves, what the application asks, and what the policy's numbers let come of it.

A fault is a class in a module of `cases`, and is found there: everything about it stands in one place. The provider's
part runs in the world, the application's on each of the three ways, and the judgement where the rehearsal was started.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hostguard.policy.gateway import Upstream
from hostguard.rehearse.faults.result import Call, Mark, Reached, Way

if TYPE_CHECKING:
    from hostguard.rehearse.faults.application import Application
    from hostguard.rehearse.faults.running import Running
    from hostguard.rehearse.faults.site import Asked, Site

SLACK = 0.5
"""Seconds that a busy machine may take beside what the policy's numbers say."""
AT_ONCE = 0.1
"""Seconds within which an answer did not wait for anybody."""
ROUNDED = 0.001
"""Seconds to which times are told."""
PATIENCE = 43.0
"""Seconds that the rehearsal waits for a region to come back."""
TTL = 2
"""Seconds that an answer about a name holds, so that it can move while somebody waits for it."""
LARGEST = 32 * 2**20
"""Bytes of a body that are still rehearsed."""
UNSAFE = ("POST", "PATCH", "PUT", "DELETE")


@dataclass(frozen=True)
class Numbers:
    """What a fault is held against. Times in seconds."""

    up: Upstream
    """The provider, with ejection and interval as they are rehearsed."""
    own: Upstream
    """The policy's, with its names and its port."""
    ca: str
    tls_min: str
    program: str
    drain: float
    """The gateway's own, all four."""
    headroom: float
    caller: float
    """How long whoever waits in front of an application waits for it."""
    fast: bool = False

    @property
    def safe(self) -> str:
        """A method that may reach the provider twice; where none may, one that is asked with all the same."""
        return next((each for each in self.up.retry.safe if each != "HEAD"), "GET")

    @property
    def unsafe(self) -> str:
        return next((each for each in UNSAFE if each not in self.up.retry.safe), UNSAFE[0])

    @property
    def regions(self) -> int:
        return len(self.up.hosts)

    @property
    def tries(self) -> int:
        return self.up.retry.tries

    @property
    def longest(self) -> float:
        """Until an answer, where each try takes its whole time."""
        tries = self.tries if self.safe in self.up.retry.safe and self.up.retry.timeouts else 1
        return min(self.up.total, tries * self.up.per_try + (tries - 1) * BACK_OFF)

    @property
    def unconnected(self) -> float:
        """Until an answer, where no try gets a connection."""
        return min(self.up.total, self.tries * self.up.connect + (self.tries - 1) * BACK_OFF)

    @property
    def to_next_region(self) -> int:
        """The try that is the first at the second region: each is asked with every key."""
        return len(self.up.clusters) + 1

    @property
    def fails_over(self) -> bool:
        return self.regions > 1 and self.tries >= self.to_next_region


BACK_OFF = 0.25
"""Seconds, the longest between two tries."""


@dataclass(frozen=True)
class Key:
    """The policy's key that decides; below the provider where it does not begin with `gateway.`."""

    path: str
    value: str


class Fault:
    id: ClassVar[str] = ""
    title: ClassVar[str] = ""
    leaf: ClassVar[str] = "provider"
    """The certificate that the provider shows."""
    old_tls: ClassVar[bool] = False
    """Whether it speaks TLS 1.1 and nothing newer."""
    act: ClassVar[int] = 1
    """Those of the second act are done to the gateway itself, one by one, when all others are over."""
    keys: ClassVar[str] = "keys"
    """The secret of the gateway's: `keys` are there, `empty` are empty files."""
    directly: ClassVar[str] = ""
    """Why it can't be tried without a gateway; "" where it can."""
    ttl: ClassVar[int] = TTL
    """Seconds that an answer about its names holds."""
    after: ClassVar[float] = 0.0
    """Seconds that it waits, where it would delay the others."""
    account: ClassVar[str] = ""
    """Who asks; "" for the first of the provider's `users`."""

    def unfit(self, n: Numbers) -> str:
        """Why this policy has no such fault; "" where it has."""
        return ""

    # At the provider

    def begins(self, site: Site) -> None:
        """How it is before the first request."""

    def answers(self, asked: Asked) -> None:
        """What a region does with a request."""
        asked.well()

    def strikes(self, running: Running) -> None:
        """What is done to the gateway meanwhile."""

    # In the application

    def calls(self, app: Application) -> None:
        app.safe()

    # Of the judge

    def named(self, n: Numbers) -> str:
        return self.title

    def decides(self, n: Numbers) -> Key:
        raise NotImplementedError

    def expected(self, n: Numbers) -> str:
        raise NotImplementedError

    def shows(self, direct: Way) -> bool:
        """Whether the fault is seen without the gateway."""
        return any(not is_well(call) for call in direct["calls"])

    def wrong(self, n: Numbers, way: Way) -> str:
        """What came of it with the gateway that the numbers do not allow, in words; "" where all is as expected."""
        raise NotImplementedError

    def unseen(self, n: Numbers, way: Way) -> str:
        """Why it can't be told whether it held; "" where it can."""
        return ""

    def marks(self, n: Numbers, way: Way) -> Sequence[Mark]:
        """What happened with the gateway, as it is seen from outside."""
        return ()


# What is seen


def is_well(call: Call) -> bool:
    return call["status"] is not None and 200 <= call["status"] < 300 and call["whole"]


def is_refused(call: Call) -> bool:
    """An answer that says that it failed."""
    return call["status"] is not None and call["status"] >= 500 and call["whole"]


def requests(way: Way, region: int | None = None) -> list[Reached]:
    """Those that reached the provider."""
    return [each for each in way["reached"] if each["method"] and region in (None, each["region"])]


def slowest(calls: Iterable[Call]) -> float:
    return max((call["seconds"] for call in calls), default=0.0)


def asked_during(way: Way, call: Call) -> bool:
    """Whether the provider saw anything of this call."""
    began, ended = call["at"] - ROUNDED, call["at"] + call["seconds"] + ROUNDED
    return any(began <= each["at"] <= ended for each in way["reached"])


# In words


def seconds(of: float) -> str:
    """2 s, 250 ms, 1.3 s."""
    return f"{math.ceil(of * 1000)} ms" if of < 1 else f"{of:.2f}".rstrip("0").rstrip(".") + " s"


def span(of: float) -> str:
    """As a policy writes it: 2s, 250ms."""
    return f"{of * 1000:g}ms" if of < 1 else f"{of:g}s"


def size(of: int) -> str:
    for unit, letter in ((2**20, "M"), (2**10, "K")):
        if of % unit == 0:
            return f"{of // unit}{letter}"
    return str(of)


def said(call: Call) -> str:
    """What an application would say that it got."""
    if call["status"] is None:
        return call["error"] or "nothing"
    return f"{call['status']}" + ("" if call["whole"] else ", cut")


def times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


def first_not(calls: Iterable[Call], as_wanted: str) -> str:
    """Of the first call that is not well: what it got."""
    found = next((call for call in calls if not is_well(call)), None)
    return "" if found is None else f"{said(found)} after {seconds(found['seconds'])}, and not {as_wanted}"


def first_unrefused(way: Way, within: float) -> str:
    """Of the first call that did not end with an answer that says so, within so many seconds: what it got."""
    for call in way["calls"]:
        if not is_refused(call):
            return f"{said(call)} after {seconds(call['seconds'])}, and no whole answer of 5xx"
        if call["seconds"] > within + SLACK:
            return f"{said(call)} came after {seconds(call['seconds'])}"
    return "" if way["calls"] else "nothing was asked"
