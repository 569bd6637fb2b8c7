"""Tests side by side: which of them stay together, who goes first, and where the time went (`make times`).

The tests of a module stay together on one worker, in order: they share what its fixtures made. Others say so by a
mark: `alone` tests go to whoever is free, `xdist_group(name)` keeps tests of one name together.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any, TypedDict

import pytest

# By group, the longest first: what is begun last is short, and no core waits for long at the end.
LONGEST_FIRST = (
    "witness/test_on_a_machine",
    "witness/test_nothing_on_a_disk",
    "molecule on a machine",
    "breaks on debian 12, nft",
    "witness/test_others",
    "witness/test_balancer",
    "witness/test_pull",
    "lab/test_lab",
    "witness/test_fleet",
    "breaks on debian 13, nft",
    "witness/test_audit_timer",
    "crash/test_crash",
    "witness/test_names",
    "witness/test_diagnose",
    "witness/test_no_report_tells",
    "witness/test_diagnose_gateway",
    "witness/test_gateway_role",
    "witness/test_secret_agent_role",
    "witness/test_roles",
    "witness/test_whole_way",
    "molecule/test_scenarios",
    "witness/test_way_back",
    "witness/test_secret_agent",
    "witness/test_secret_agent_on_debian_13",
    "witness/test_egress_on_a_host",
    "gateway/test_broken_providers",
    "breaks on debian 12, legacy",
    "packets/test_rehearse_faults",
    "packets/test_rehearse",
    "crash/test_policies",
    "witness/test_learn",
    "lab/test_kept",
)
TIMES = "hostguard/times"
"""Where in pytest's cache the times of the last run are."""


class Run(TypedDict):
    """What a run has taken: in seconds, `busy` those of all cores together; by group its tests and their seconds."""

    seconds: float
    busy: float
    workers: int
    cores: int
    groups: dict[str, tuple[int, float]]


def group(item: pytest.Item) -> str:
    mark = item.get_closest_marker("xdist_group")
    return str(mark.args[0]) if mark else item.nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py")


def busy() -> float:
    """Seconds in which a core was busy since the boot, of all cores and of everybody."""
    user, nice, system, _idle, _wait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "alone: needs no other test of its module, and none needs it")
    config.addinivalue_line("markers", "xdist_group(name): stays with the other tests of that name")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Clock(config))


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: a test of a host waits for the host, most of its time."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    for item in items:
        if not item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: place.get(group(item), len(place)))


def pytest_collection_finish(session: pytest.Session) -> None:
    """A suite whose groups fall apart fails in a hundred places, none of which says why."""
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist keeps no group of tests together with this pytest")


class Clock:
    """What each group took, on whichever worker."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.seconds: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()
        self.began, self.busy = time.monotonic(), busy()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name, _, found = report.nodeid.rpartition("@")
        module = (name or found).partition("::")[0].removeprefix("tests/").removesuffix(".py")
        key = found if name and not found.endswith("]") else module  # an ID may have an @ of its own
        self.seconds[key] += report.duration
        self.tests[key] += report.when == "call"

    def pytest_sessionfinish(self) -> None:
        cache: Any = self.config.cache
        workers = getattr(self.config.option, "numprocesses", None) or 1
        took = time.monotonic() - self.began
        run: Run = {
            "seconds": round(took, 1),
            "busy": round(busy() - self.busy, 1),
            "workers": workers,
            "cores": len(os.sched_getaffinity(0)),
            "groups": {name: (self.tests[name], round(each, 1)) for name, each in self.seconds.most_common()},
        }
        cache.set(TIMES, run)
