"""Alerts and dashboard of the gateway, on a Prometheus that scrapes real ones: providers fail, each in its own way, and
the alerts that stand are those of each, and no others."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import yaml

from tests.gateway.names import Names
from tests.gateway.proxy import API, EU, FIRST, RESOLVER, SECOND
from tests.monitoring.faulty import FAULTS, JOB, hosts
from tests.monitoring.prometheus import MONITORING, Prometheus, serving
from tests.patience import slowness

pytestmark = pytest.mark.needs("prometheus", "envoy")
RULES = yaml.safe_load((MONITORING / "gateway_alerts.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((MONITORING / "gateway_dashboard.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}


def at_once(rules: dict[str, Any]) -> dict[str, Any]:
    """The same without the time that a fault must last, which promtool's tests have."""
    found = copy.deepcopy(rules)
    for group in found["groups"]:
        for rule in group["rules"]:
            rule.pop("for", None)
    return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("gateway")
    rules = folder / "rules.yml"
    rules.write_text(yaml.safe_dump(at_once(RULES)), encoding="utf-8")
    with Names(RESOLVER, {API: ([FIRST], 60), EU: ([SECOND], 60)}), hosts(folder) as gateways:
        scrape = {
            "job_name": JOB,
            "metrics_path": "/metrics",
            "static_configs": [{"targets": [at], "labels": {"host": host}} for host, at in gateways.at.items()],
        }
        with serving(folder, [rules], scrape) as server:
            server.until(lambda: len(server.query("up == 1")) == 2, "it has scraped both")
            gateways.refuse()
            yield server


# Alerts

WANTED = {
    **{("well", name): set(fault.alerts) for name, fault in FAULTS.items() if fault.alerts},
    ("well", ""): {"HostguardConfigRefused"},
    ("small", "small"): {"HostguardProviderFails"},
    ("small", ""): {"HostguardConfigRefused", "HostguardGatewayFull", "HostguardGatewayOverloaded"},
    ("gone", ""): {"HostguardGatewayGone"},
}
"""By host and provider."""


def standing(server: Prometheus) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for alert in server.alerts():
        labels = alert["labels"]
        found.setdefault((labels.get("host", ""), labels.get("provider", "")), set()).add(labels["alertname"])
    return found


@pytest.fixture(scope="module")
def settled(prometheus: Prometheus) -> Prometheus:
    """Once all alerts stand that must."""
    with suppress(AssertionError):
        prometheus.until(lambda: standing(prometheus) == WANTED, "the alerts stand as they must")
    return prometheus


def test_each_fault_has_its_alerts_and_no_others(settled: Prometheus) -> None:
    seen: dict[tuple[str, str], set[str]] = {}

    def stand() -> bool:
        seen.clear()
        seen.update(standing(settled))
        return seen == WANTED

    with suppress(AssertionError):  # which says less than the difference
        settled.until(stand, "the alerts stand as they must")
    assert seen == WANTED
    assert {rule["health"] for rule in settled.rules()} == {"ok"}


def test_every_alert_was_made_to_stand_but_that_of_no_gateway_at_all() -> None:
    alerts = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}
    assert set().union(*WANTED.values()) == alerts - {"HostguardNoGateway"}


def test_an_alert_s_words_have_no_hole(settled: Prometheus) -> None:
    words = [text for alert in settled.alerts() for text in alert["annotations"].values()]
    assert words
    holes = [text for text in words if re.search(r"  |<no value>| [,.:]| of  on|NaN|<error", text)]
    assert holes == []


def metrics(expressions: Iterable[str]) -> set[str]:
    """The names in them that are Envoy's, or recorded from those."""
    return set(re.findall(r"\b(?:envoy|instance)_\w+(?::\w+)*", " ".join(expressions))) - LABELS


LABELS = {"envoy_response_code", "envoy_response_code_class", "envoy_cluster_name", "envoy_tls_certificate",
          "envoy_http_conn_manager_prefix"}  # fmt: skip


def test_the_gateway_really_has_each_metric_that_is_asked_for(settled: Prometheus) -> None:
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    names = metrics([*rules, *(target["expr"] for panel in PANELS.values() for target in panel["targets"])])
    assert len(names) > 30
    there = set(settled.get("label/__name__/values"))
    assert names - there == set()


# Dashboard


def shown(server: Prometheus, title: str, host: str = ".*", provider: str = ".*") -> dict[str, dict[str, float]]:
    """Value by legend of each query of a panel, by its letter."""
    found: dict[str, dict[str, float]] = {}
    interval = "10m" if title == "Configuration" else "1m"  # that was refused once, at the beginning
    for target in PANELS[title]["targets"]:
        text = target["expr"].replace("$host", host).replace("$provider", provider)
        values = found.setdefault(target["refId"], {})
        for labels, value in server.query(text.replace("$__rate_interval", interval)):
            legend = re.sub(r"\{\{(\w+)\}\}", lambda of, labels=labels: labels.get(of[1], "?"), target["legendFormat"])
            assert legend not in values, f"{title}: two lines are {legend}"
            assert "?" not in legend, f"{title}: {target['legendFormat']} of {labels}"
            values[legend] = value
    return found


DAY = 86400


def test_every_panel_shows_what_was_made(settled: Prometheus) -> None:
    of = {title: shown(settled, title) for title in PANELS}
    one = {title: next(iter(of[title]["A"].values())) for title in PANELS if PANELS[title]["type"] == "stat"}
    certificates = {**of["Certificates"]["A"], **of["Certificates"]["B"]}
    seen = {
        "Slowest P99": one["Slowest P99"] > 2000,
        "Requests that fail": 0.1 < one["Requests that fail"] < 0.9,
        "Requests": one["Requests"] > 10,
        "Providers that are cut": one["Providers that are cut"] == 1,
        "Gateways that are gone": one["Gateways that are gone"] == 1,
        "First certificate to end": 4 * DAY < one["First certificate to end"] < 5 * DAY,
        "Time to the first byte": of["Time to the first byte"]["A"]["very-slow P99"] > 2000
        and 500 < of["Time to the first byte"]["B"]["slow P50"] < 1000 * slowness()
        and of["Time to the first byte"]["A"]["well P99"] < 500 * slowness(),
        "Whole request": of["Whole request"]["A"]["hanging P99"] > 250,
        "Answers": set(of["Answers"]["A"]) == {"2xx", "3xx", "4xx", "5xx"} and of["Answers"]["A"]["5xx"] > 0,
        "Failures by their flag": {"UC", "UT", "UH", "UO", "URX,UF"} <= set(of["Failures by their flag"]["A"]),
        "Regions": of["Regions"]["A"]["second-region eu.provider.test"] > 0
        and of["Regions"]["A"]["well api.provider.test"] > 0,
        "Regions that are cut": {name for name, cut in of["Regions that are cut"]["A"].items() if cut}
        == {"failing", "second-region"},
        "Breaker": of["Breaker"]["A"].keys() == {*FAULTS, "small"},
        "Tries again": of["Tries again"]["A"]["hammered"] > 0 and set(of["Tries again"]["B"]) == {"hammered lost"},
        "Too many requests": of["Too many requests"]["A"]["limiting handed on"] > 0,
        "Key in use": of["Key in use"]["A"]["rotating-old"] > 0 and of["Key in use"]["A"]["keyed"] > 0,
        "Room": of["Room"]["A"]["small memory"] > 95 and of["Room"]["B"]["well connections"] < 80,
        "Configuration": set(of["Configuration"]["B"]) == {"well refused", "small refused"},
        "Certificates": certificates["ends-soon api.provider.test"] < 20 * DAY < certificates["well api.provider.test"],
    }
    assert seen == dict.fromkeys(PANELS, True)


def test_what_is_chosen_narrows_it(settled: Prometheus) -> None:
    assert set(shown(settled, "Breaker", provider="(well|slow)")["A"]) == {"well", "slow"}
    assert set(shown(settled, "Room", host="small")["A"]) == {"small memory"}
    assert shown(settled, "Slowest P99", provider="nobody") == {"A": {}}, "nothing asked is not nothing slow"
    assert shown(settled, "Providers that are cut", provider="nobody") == {"A": {}}


def test_what_can_be_chosen_is_there(settled: Prometheus) -> None:
    offered = {}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            chosen = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert chosen
            offered[variable["name"]] = set(settled.get(f"label/{chosen[2]}/values", match=chosen[1]))
    assert offered == {"host": {"well", "small", "gone"}, "provider": {*FAULTS, "small"}}


def test_the_lines_of_latency_are_those_at_500_and_2000_ms() -> None:
    for title in ("Slowest P99", "Time to the first byte", "Whole request"):
        steps = PANELS[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert [step["value"] for step in steps] == [None, 500, 2000]
