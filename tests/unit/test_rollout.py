"""Who is applied to when: no host twice, none left out, nobody before the canaries, and an end at the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hostguard.ansible.actions.transaction import told
from hostguard.fleet.rollout import NOT_BEGUN, UNREACHABLE, Fleet, Share, Wave, share, waves

names = st.lists(st.text("abc123", min_size=1), unique=True, max_size=40)
shares = st.none() | st.builds(Share, st.integers(0, 60)) | st.builds(Share, st.integers(0, 100), st.just(True))


@given(names, st.integers(0, 50), shares)
def test_every_host_comes_once_and_in_order(hosts: list[str], canary: int, serial: Share | None) -> None:
    planned = waves(hosts, canary, serial)
    assert [host for wave in planned for host in wave.hosts] == hosts
    assert all(wave.hosts for wave in planned)
    assert [host for wave in planned if wave.canary for host in wave.hosts] == hosts[:canary]
    assert not any(wave.canary for wave in planned[1:])
    if serial and not serial.percent and serial.number:
        assert all(len(wave.hosts) <= serial.number for wave in planned if not wave.canary)


@pytest.mark.parametrize(("text", "hosts", "number"), [("3", 10, 3), ("25%", 10, 2), ("0", 10, 0), ("100%", 7, 7)])
def test_shares(text: str, hosts: int, number: int) -> None:
    assert share(text).of(hosts) == number


@pytest.mark.parametrize("text", ["", "-1", "101%", "many", "1.5", "1 %"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match="such as 3 or 10%"):
        share(text)


@pytest.mark.parametrize(
    ("canary", "states", "stops"),
    [
        (True, {"a": "applied", "b": "unchanged"}, False),
        (True, {"a": "applied", "b": UNREACHABLE}, True),
        (True, {"a": "applied"}, True),
        (True, {"a": "rolled back", "b": "applied"}, True),
        (False, {"a": "rolled back", "b": "applied"}, False),
        (False, {"a": "rolled back", "b": "lost"}, True),
        (False, {"a": UNREACHABLE, "b": UNREACHABLE}, False),
    ],
)
def test_when_nobody_may_follow(canary: bool, states: dict[str, str], stops: bool) -> None:
    fleet = Fleet(("a", "b", "c"), budget=1, states=states)
    assert bool(fleet.stop(Wave(("a", "b"), canary))) == stops
    assert fleet.state("c") == NOT_BEGUN


@pytest.mark.parametrize(
    ("answer", "failed", "changed", "words"),
    [
        ({"outcome": "unchanged", "owed": []}, False, False, "unchanged"),
        (
            {"outcome": "applied", "changes": [["f", "x", "", "1", "", ""]], "owed": ["a.service"]},
            False,
            True,
            "is owed",
        ),
        (
            {"outcome": "would change", "changes": [["f", "x", "", "1", "", ""]], "owed": []},
            False,
            True,
            "would change",
        ),
        ({"outcome": "blocked", "obstacles": ["x is in use"]}, True, False, "x is in use; nothing was touched"),
        ({"outcome": "refused", "error": "wait"}, True, False, "wait; nothing was touched"),
        ({"outcome": "failed", "error": "no", "trouble": []}, True, False, "as it was before"),
        (
            {"outcome": "failed", "error": "no", "trouble": ["set"]},
            True,
            False,
            "the way back failed too: set; this host goes on trying",
        ),
        ({"outcome": "rolled back", "error": "no new connection"}, True, False, "rolled back by the host"),
        ({"outcome": "lost", "error": "no new connection"}, True, False, "look at it"),
    ],
)
def test_an_answer_as_the_result_of_a_task(answer: dict[str, object], failed: bool, changed: bool, words: str) -> None:
    result = told(answer)
    assert (result.get("failed", False), result["changed"]) == (failed, changed)
    assert words in result["msg"]
