"""The rules and the dashboards themselves: promtool's tests of every alert, and Grafana's types."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.monitoring.prometheus import MONITORING, promtool

needs_prometheus = pytest.mark.needs("prometheus")


def read(name: str) -> Any:
    return yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))


FILES = ("alerts", "gateway_alerts")
GROUPS = {name: read(f"{name}.yml")["groups"] for name in FILES}
ALERTS = {name: {r["alert"]: r for g in groups for r in g["rules"] if "alert" in r} for name, groups in GROUPS.items()}
DASHBOARDS = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(MONITORING.glob("*dashboard.json"))
}
each_file = pytest.mark.parametrize("name", FILES)
each_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS)


# Alerts


@needs_prometheus
@each_file
def test_the_alerts_are_rules_and_pass_their_own_tests(name: str) -> None:
    for call in (("check", "rules", "--lint-fatal", f"{name}.yml"), ("test", "rules", f"{name}_test.yml")):
        done = promtool(*call)
        assert done.returncode == 0, done.stdout + done.stderr


@each_file
def test_each_alert_is_tried_both_ways(name: str) -> None:
    cases = [case for test in read(f"{name}_test.yml")["tests"] for case in test["alert_rule_test"]]
    tried = {(case["alertname"], bool(case["exp_alerts"])) for case in cases}
    assert tried == {(alert, fires) for alert in ALERTS[name] for fires in (True, False)}


@needs_prometheus
@each_file
@pytest.mark.parametrize(
    "broken", [{"expr": "vector(1) > 2"}, {"expr": "vector(1)", "for": "0s"}], ids=["never", "always"]
)
def test_an_alert_that_never_or_always_fires_fails_its_test(name: str, broken: dict[str, str], tmp_path: Any) -> None:
    (tmp_path / f"{name}_test.yml").write_bytes((MONITORING / f"{name}_test.yml").read_bytes())
    groups = [{"name": "broken", "rules": [{**rule, **broken} for rule in ALERTS[name].values()]}]
    (tmp_path / f"{name}.yml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    done = promtool("test", "rules", f"{name}_test.yml", folder=tmp_path)
    assert set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr)) == set(ALERTS[name])
    assert done.returncode == 1


def test_no_alert_is_in_two_files() -> None:
    assert not set(ALERTS["alerts"]) & set(ALERTS["gateway_alerts"])


def test_the_page_lists_every_alert_with_its_severity() -> None:
    page = (MONITORING / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(Hostguard\w+)`[^|]*\| (\w+)", page, re.MULTILINE))
    short = {"HostguardMediumControlFails", "HostguardLowControlFails"}  # on the line of the first
    wanted = {name: rule["labels"]["severity"] for alerts in ALERTS.values() for name, rule in alerts.items()}
    assert listed == {name: severity for name, severity in wanted.items() if name not in short}


# Dashboards


@each_dashboard
def test_a_dashboard_is_one_to_grafanas_own_types(dashboard: dict[str, Any]) -> None:
    """They keep what they know, and drop what they don't."""
    register_default_plugins()
    kept = JSONEncoder(sort_keys=True).encode(Dashboard.from_json(dashboard))
    assert lost(dashboard, json.loads(kept), "") == []


def lost(wanted: Any, found: Any, where: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [each for key in wanted for each in lost(wanted[key], found.get(key), f"{where}/{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [
            each for at, pair in enumerate(zip(wanted, found, strict=True)) for each in lost(*pair, f"{where}/{at}")
        ]
    return [] if wanted == found else [where]


@each_dashboard
def test_a_dashboard_asks_the_data_source_that_is_chosen(dashboard: dict[str, Any]) -> None:
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps({k: v for k, v in dashboard.items() if k != "uid"}))
    assert set(sources) == {"${datasource}"}
    asked = re.findall(r"\$(\w+)", " ".join(target["expr"] for p in panels(dashboard) for target in p["targets"]))
    chosen = {variable["name"] for variable in dashboard["templating"]["list"]} - {"datasource"}
    assert set(asked) - {"__rate_interval"} == chosen


@each_dashboard
def test_no_panel_lies_on_another_or_outside(dashboard: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in dashboard["panels"]]
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert len(titles) == len(set(titles))
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in dashboard["panels"]]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]
