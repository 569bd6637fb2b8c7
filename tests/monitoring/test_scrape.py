"""The gateway's page on scraping: its policy lets the agent through and nobody else, and Prometheus takes its
configuration."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.policy.gateway import derive
from hostguard.policy.load import load
from hostguard.policy.model import Policy
from hostguard.policy.why import Question, answer
from tests.monitoring.faulty import JOB
from tests.monitoring.prometheus import promtool

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs/gateway.md").read_text(encoding="utf-8").partition("\n## Metrics\n")[2].partition("\n## ")[0]
_, OPENED, SCRAPED = map(yaml.safe_load, re.findall(r"^```yaml\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL))
(TARGET,) = SCRAPED["scrape_configs"][0]["static_configs"][0]["targets"]
SERVER = SCRAPED["remote_write"][0]["url"].split("/")[2]


def merged(one: Any, more: Any) -> Any:
    if isinstance(one, dict) and isinstance(more, dict):
        return {**one, **{key: merged(one.get(key), value) for key, value in more.items()}}
    return more


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """The example, and what the page adds to it."""
    example = yaml.safe_load((ROOT / "examples/gateway.yml").read_text(encoding="utf-8"))
    (tmp_path / "schemas").symlink_to(ROOT / "examples/schemas")
    (tmp_path / "hostguard.yml").write_text(yaml.safe_dump(merged(example, OPENED)), encoding="utf-8")
    return load(tmp_path / "hostguard.yml").policy


@pytest.mark.parametrize(("account", "may"), [("prometheus", True), ("shop", False), (None, False), ("envoy", False)])
def test_the_agent_alone_reads_the_metrics_and_reaches_their_server(
    policy: Policy, account: str | None, may: bool
) -> None:
    address, port = TARGET.split(":")
    assert bool(answer(policy, Question(account, address, int(port), "tcp")).may) is may
    assert bool(answer(policy, Question(account, SERVER, 443, "tcp")).may) is may


def test_the_target_is_where_the_gateway_listens(policy: Policy) -> None:
    gateway = derive(policy)
    assert gateway is not None
    assert f"{gateway.address}:{gateway.metrics_listen}" == TARGET


@pytest.mark.needs("prometheus")
def test_prometheus_takes_the_configuration_of_an_agent(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(SCRAPED), encoding="utf-8")
    done = promtool("check", "config", "--agent", "prometheus.yml", folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert SCRAPED["scrape_configs"][0]["job_name"] == JOB
    assert SCRAPED["global"]["external_labels"].keys() == {"host"}
