"""What the bench says of a figure, and what it hears of wrk."""

from __future__ import annotations

import pytest

from tests.bench.figure import Figure
from tests.bench.gateway.wrk import heard


@pytest.mark.parametrize(("target", "missed"), [("≤ 1.3", True), ("≤ 1.5", False), ("< 2", False), ("≤ 1/4", True),
                                                ("", False)])  # fmt: skip
def test_a_target_that_is_missed_is_told(target: str, missed: bool) -> None:
    assert Figure("", "", "", [3.0, 2.8, 3.2], [2.0, 2.0, 2.0], target).missed is missed


def test_all_kinds_of_failures_count() -> None:
    errors = '{"not connected": 1, "cut": 2, "not sent": 3, "a status over 399": 4, "over 10 s": 5}'
    line = f'{{"seconds": 2, "requests": 10, "p50": 0.1, "p99": 0.2, "most": 0.3, "errors": {errors}}}'
    found = heard(f"Running 2s test\n  5 requests in 2s\n\n{line}\n")
    assert (found.failed, found.rate) == (15, 5)
