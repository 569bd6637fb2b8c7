"""One ratio of two things that were timed in turn, and the reason where it could not be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median, quantiles


class Unmeasured(Exception):
    """A measurement that can't be made here; the text says why."""


@dataclass(frozen=True)
class Figure:
    """`ours` and `base` in seconds, pair by pair; `target` is a remark of the project's brief, nothing checks it."""

    name: str
    ours_is: str
    base_is: str
    ours: Sequence[float]
    base: Sequence[float]
    target: str = ""

    @property
    def ratios(self) -> list[float]:
        """What was measured right after one another, divided: a slow second of the machine falls on both."""
        return [mine / theirs for mine, theirs in zip(self.ours, self.base, strict=True)]

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def medians(self) -> tuple[float, float]:
        return median(self.ours), median(self.base)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles of the ratios; of fewer than three pairs, the ends."""
        if len(self.ratios) < 3:
            return min(self.ratios), max(self.ratios)
        low, _, high = quantiles(self.ratios, n=4)
        return low, high


@dataclass(frozen=True)
class Curve:
    """Measurements that are no ratio of two: a table of their own."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def in_turn(runs: int, *timed: Callable[[], float], warm: bool = True) -> list[list[float]]:
    """What each returns, `runs` times, after one run of each that is thrown away (`warm`).

    Who goes first moves on by one every round: a machine that slows down must not favour anybody.
    """
    results: list[list[float]] = [[] for _ in timed]
    for one in timed if warm else ():
        one()
    for at in range(runs):
        for step in range(len(timed)):
            which = (at + step) % len(timed)
            results[which].append(timed[which]())
    return results


def seconds(text: float) -> str:
    """A duration in three digits."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if text * factor >= 1:
            return f"{text * factor:.3g} {unit}"
    return f"{text * 1e6:.3g} µs"
