"""Of too many faults a few: always the same ones, and of every scenario and kind."""

from collections import Counter

from tests.crash.injector import fits
from tests.crash.scenarios import FAULTS, SCENARIOS
from tests.crash.trial import Trial, each_once, sample

EVERY = [Trial(name, fault, at) for name in SCENARIOS for fault in FAULTS for at in range(1, 30)]


def test_the_first_few_are_of_every_scenario_and_fault() -> None:
    chosen = sample(EVERY, len(SCENARIOS))
    assert {trial.scenario for trial in chosen} == set(SCENARIOS)
    assert {trial.fault for trial in chosen} == set(FAULTS)


def test_the_same_ones_in_their_order() -> None:
    chosen = sample(EVERY, 100)
    assert (len(chosen), chosen) == (100, sample(EVERY, 100))
    assert chosen == [trial for trial in EVERY if trial in chosen]
    assert sample(EVERY, len(EVERY) + 1) == EVERY


def test_a_fault_comes_only_where_it_can() -> None:
    assert not fits("enospc", "open", "/proc/sys/net/ipv4/tcp_fin_timeout")
    assert fits("eio-on", "open", "/proc/sys/net/ipv4/tcp_fin_timeout")
    assert not fits("erofs", "open", "/run/secrets")
    assert not fits("kill-after", "rename", "/etc/file")
    assert not fits("power", "program", "/usr/sbin/ipset save")
    assert not fits("kill", "program", "journalctl -k -q")
    assert fits("power", "program", "/usr/sbin/ipset -exist restore")
    assert fits("eio", "program", "/usr/sbin/ipset save")


def test_each_point_has_one_fault_and_the_faults_take_turns() -> None:
    chosen = each_once(EVERY)
    assert [(trial.scenario, trial.at) for trial in chosen] == [(name, at) for name in SCENARIOS for at in range(1, 30)]
    counts = Counter((trial.scenario, trial.fault) for trial in chosen)
    assert len(counts) == len(SCENARIOS) * len(FAULTS)
    assert set(counts.values()) == {29 // len(FAULTS), 29 // len(FAULTS) + 1}


def test_the_turns_together_try_each_fault_at_each_point_once() -> None:
    turns = [each_once(EVERY, turn) for turn in range(1, len(FAULTS) + 1)]
    assert [len(turn) for turn in turns] == [len(SCENARIOS) * 29] * len(FAULTS)
    tried = Counter(trial for turn in turns for trial in turn)
    assert tried == Counter(EVERY)
    assert each_once(EVERY, len(FAULTS) + 1) == []
