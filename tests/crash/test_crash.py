"""A few faults of all that `make crash` tries: at least one of every scenario and of every kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.judge import Verdict
from tests.crash.stage import Stage
from tests.crash.trial import Trial, attempt
from tests.lab.lab import Lab

pytestmark = pytest.mark.needs("lab")


WHOLE = {Verdict.OLD, Verdict.NEW, Verdict.NEXT}


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Iterator[Stage]:
    with Stage(lab, "crash") as stage:
        yield stage


# In the order of what must be in force before them: a host is seldom brought to another level.
@pytest.mark.parametrize(
    "trial",
    [
        Trial("first", "enospc", having="open /etc/hostguard/egress/"),
        Trial("first", "eio", having="ip6tables-restore -w"),
        Trial("first-window", "kill", having="systemctl daemon-reload"),
        Trial("second", "kill", having="open /var/lib/hostguard/pending.json.new"),
        Trial("second", "power", having="program iptables-restore -w"),
        Trial("second-window", "erofs", having="rename /etc/sysctl.d/zz-hostguard.conf"),
        Trial("confirm", "kill", having="write /var/lib/hostguard/generations/"),
        Trial("expire", "kill-after", having="program iptables-restore -w"),
        Trial("boot-rules", "kill", having="rename /etc/hostguard/egress/"),
        Trial("boot", "eio-on", having="systemctl daemon-reload"),
        Trial("next", "enospc-on", having="write /var/lib/hostguard/generations/"),
        Trial("rollback", "erofs-on", having="rename /etc/hostguard/egress/"),
        Trial("rollback-window", "eio", having="program iptables-restore -w"),
        Trial("rollback-to-0", "kill", having="systemctl daemon-reload"),
    ],
    ids=str,
)
def test_the_host_stays_whole(stage: Stage, trial: Trial) -> None:
    result = attempt(stage, trial)
    assert result.verdict in WHOLE, f"{result.struck}: {result.why}"


def test_a_window_that_was_closed_by_half_is_closed_by_its_watcher(stage: Stage) -> None:
    """And by no next command: whoever waited for its end in the foreground would wait for ever."""
    result = attempt(stage, Trial("expire", "kill", having="remove /var/lib/hostguard/program.pyz"))
    assert result.verdict == Verdict.OLD, f"{result.struck}: {result.why}"
