"""A few of the hostile policies that `python -m tests.crash.policies` makes: nobody confirms, nobody stays out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.policies import BASES, End, Trial, hostile, refused
from tests.lab.lab import Lab

BASE = BASES[1]  # everybody gets in, so that whatever cuts off is seen to


def test_always_the_same_ones_and_most_of_them_are_valid() -> None:
    made = [[hostile(number, 0, base) for number in range(100)] for base in BASES]
    assert made == [[hostile(number, 0, base) for number in range(100)] for base in BASES]
    for base, each in zip(BASES, made, strict=True):
        trees = [one.tree for one in each if one.tree]
        assert len(trees) == 80, "and twenty rollbacks"
        assert {one.to for one in each if not one.tree} == set(range(len(base.trees)))
        assert {tree["egress"]["mode"] for tree in trees} == {"enforce", "observe"}
        assert len([tree for tree in trees if not refused(tree)]) > 60


@pytest.fixture(scope="module")
def trial(lab: Lab) -> Iterator[Trial]:
    with Trial(lab, BASE) as trial:
        yield trial


@pytest.mark.needs("lab")
@pytest.mark.parametrize(("number", "cut"), [(1, True), (2, True), (3, True), (4, False), (24, True)])
def test_nobody_stays_out(trial: Trial, number: int, cut: bool) -> None:
    result = trial.suffer(hostile(number, 0, BASE))
    assert (result.end, result.why) == (End.APPLIED, ""), result.hostile.words
    assert result.cut == cut, "a new connection sees what cuts off"
