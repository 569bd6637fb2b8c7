"""Who is applied to when, and when to stop (pure)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

WELL = ("applied", "gone back", "unchanged", "would change")
UNREACHABLE, NOT_BEGUN = "unreachable", "not begun"


@dataclass(frozen=True)
class Share:
    """A number of hosts, or a share of them: `3` or `10%`."""

    number: int
    percent: bool = False

    def of(self, hosts: int) -> int:
        return hosts * self.number // 100 if self.percent else self.number


def share(text: str) -> Share:
    """Raises ValueError for what is neither a number nor a percentage."""
    match = re.fullmatch(r"([0-9]{1,6})(%?)", text)
    if not match or (match[2] and int(match[1]) > 100):
        raise ValueError(f"found {text!r}, expected a number of hosts or a share of them, such as 3 or 10%")
    return Share(int(match[1]), bool(match[2]))


@dataclass(frozen=True)
class Wave:
    hosts: tuple[str, ...]
    canary: bool = False
    """To be audited before anybody follows."""


def waves(hosts: Sequence[str], canary: int, serial: Share | None) -> list[Wave]:
    """The canaries first, then the others, `serial` at a time; each host once, in the inventory's order."""
    first, others = hosts[:canary], hosts[canary:]
    size = max(1, serial.of(len(hosts))) if serial else max(1, len(others))
    found = [Wave(tuple(first), canary=True)] if first else []
    return found + [Wave(tuple(others[at : at + size])) for at in range(0, len(others), size)]


@dataclass
class Fleet:
    """What is known of every host: its state, in the words of an apply's outcome."""

    hosts: tuple[str, ...]
    budget: int = 0
    """How many hosts may come out other than wanted before no further wave begins."""
    states: dict[str, str] = field(default_factory=dict)

    def state(self, host: str) -> str:
        return self.states.get(host, NOT_BEGUN)

    def count(self) -> Counter[str]:
        return Counter(self.state(host) for host in self.hosts)

    def failed(self, among: Iterable[str] | None = None) -> list[str]:
        """Hosts that came out other than wanted. Unreachable hosts were not changed and do not count."""
        known = self.hosts if among is None else tuple(among)
        return [host for host in known if self.state(host) not in (*WELL, UNREACHABLE, NOT_BEGUN)]

    def stop(self, wave: Wave) -> str:
        """Why no wave may follow this one; "" where one may. Canaries have no budget: any that is not well stops."""
        if wave.canary:
            bad = [host for host in wave.hosts if self.state(host) not in WELL]
            return f"a canary is not well: {', '.join(bad)}" if bad else ""
        failed = self.failed()
        return f"{len(failed)} failed, and {self.budget} may (--max-fail)" if len(failed) > self.budget else ""
