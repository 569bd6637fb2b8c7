"""One ratio of two things that were timed in turn, and the reason where it could not be had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import median, quantiles
from typing import TypeVar

T = TypeVar("T")


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
        return spread(self.ratios)

    @property
    def missed(self) -> bool:
        """Whether there is a target and the ratio is above it: "≤ 1.5", "< 1", "≤ 1/15"."""
        return bool(self.target) and self.ratio > Fraction(self.target.split()[1])


def spread(ratios: Sequence[float]) -> tuple[float, float]:
    """The quartiles; of fewer than three, the ends."""
    if len(ratios) < 3:
        return min(ratios), max(ratios)
    low, _, high = quantiles(ratios, n=4)
    return low, high


@dataclass(frozen=True)
class Curve:
    """Measurements that are no ratio of two: a table of their own."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def in_turn(runs: int, *timed: Callable[[], T], warm: bool = True) -> list[list[T]]:
    """What each returns, `runs` times, after one run of each that is thrown away (`warm`).

    Who goes first moves on by one every round: a machine that slows down must not favour anybody.
    """
    results: list[list[T]] = [[] for _ in timed]
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
