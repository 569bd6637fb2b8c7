"""A panic of an emulated kernel is the emulator's fault: it is printed, and the machine is started again, once.

It is no failed test of ours, nor a passed one. Tests of a machine go on where the one before ended, so all that stay
together with it are done again, up to the one in which it happened. A second panic leaves that one untried, and says
so.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
from _pytest.runner import runtestprotocol  # pytest has no public way to run a test twice

from tests import needs
from tests.lab.machine import drain_panics
from tests.schedule import group


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if "machine" not in needs.of(item):
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if said := drain_panics():
        _tell(item, f"{said}: starting the machine again")
        reports = _again(item, nextitem)
        if said := drain_panics():
            _tell(item, f"{said}: for the second time")
            reports = _untried(item, reports, said)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _again(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Everything from the start, on another machine. An earlier test that fails now has failed here."""
    item.session._setupstate.teardown_exact(None)
    drain_panics()  # of the machine that is gone now
    items = item.session.items
    earlier = [each for each in items[: items.index(item)] if group(each) == group(item)]
    for each, following in pairwise([*earlier, item]):
        for report in runtestprotocol(each, nextitem=following, log=False):
            if report.failed:
                report.nodeid = item.nodeid
                return [report]
    return runtestprotocol(item, nextitem=nextitem, log=False)


def _untried(item: pytest.Item, reports: Sequence[pytest.TestReport], said: str) -> list[pytest.TestReport]:
    report = reports[0]
    path, line, _ = item.location
    report.outcome = "skipped"
    report.longrepr = (path, line or 0, f"Skipped: the emulated kernel gave up twice ({said}): this proves nothing")
    return [report]


def _tell(item: pytest.Item, text: str) -> None:
    """Past what pytest keeps for itself, and past its workers."""
    print(f"\n{item.nodeid}: {text}", file=sys.__stderr__, flush=True)
