"""A few faults of those that `make crash` tries on a host with a gateway, its resolver and its agent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash import ladders
from tests.crash.stage import Stage
from tests.crash.test_crash import WHOLE
from tests.crash.trial import Trial, attempt
from tests.lab.lab import Lab

pytestmark = pytest.mark.needs("lab", "envoy", "bao")


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Iterator[Stage]:
    with ladders.names(lab), Stage(lab, "crash-gateway") as stage:
        yield stage


@pytest.mark.parametrize(
    "trial",
    [
        Trial("gateway-first-window", "power", having="chown /etc/logrotate.d/"),
        Trial("gateway-second", "power", having="write /etc/hostguard/agent/.folders.conf"),
        Trial("gateway-second", "kill-after", having="systemctl reload-or-restart"),
        Trial("gateway-boot", "erofs", having="rename /etc/hostguard/agent/agent.json"),
        Trial("gateway-rollback", "eio", having="rename /etc/hostguard/gateway/xds/lds.json"),
        Trial("gateway-rollback", "erofs", having="open /etc/hostguard/egress/.names.sets"),
        Trial("gateway-rollback", "power", having="write /etc/hostguard/agent/.agent.json"),
        Trial("gateway-rollback-window", "power", having="fsync /etc/hostguard/gateway/xds/.lds.json"),
    ],
    ids=str,
)
def test_the_host_stays_whole(stage: Stage, trial: Trial) -> None:
    result = attempt(stage, trial)
    assert result.struck
    assert result.verdict in WHOLE, f"{result.struck}: {result.why}"
