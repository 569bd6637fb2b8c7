"""Alerts and dashboard, tried on a Prometheus: it evaluates every expression over what audits really write."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from hostguard.controls import CATALOGUE
from hostguard.report import render
from hostguard.result import HostReport, Report
from hostguard.status import Severity
from tests.patience import ended, until
from tests.programs import PROMETHEUS, PROMTOOL
from tests.unit import reports

MONITORING = Path(__file__).parents[2] / "monitoring"
ALERTS = yaml.safe_load((MONITORING / "alerts.yml").read_text(encoding="utf-8"))
RULES = {rule["alert"]: rule for group in ALERTS["groups"] for rule in group["rules"]}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
HOUR = 3600

needs_prometheus = pytest.mark.needs("prometheus")


# promtool


def promtool(*arguments: str, folder: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *arguments], cwd=folder, capture_output=True, text=True, check=False)


@needs_prometheus
def test_the_alerts_are_rules_and_pass_their_own_tests() -> None:
    for call in (("check", "rules", "--lint-fatal", "alerts.yml"), ("test", "rules", "alerts_test.yml")):
        done = promtool(*call)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_tried_both_ways() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    tried = {(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]}
    assert tried == {(name, fires) for name in RULES for fires in (True, False)}


@needs_prometheus
@pytest.mark.parametrize(
    "broken", [{"expr": "vector(1) > 2"}, {"expr": "vector(1)", "for": "0s"}], ids=["never", "always"]
)
def test_an_alert_that_never_or_always_fires_fails_its_test(broken: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "alerts_test.yml").write_bytes((MONITORING / "alerts_test.yml").read_bytes())
    groups = [{"name": "broken", "rules": [{**rule, **broken} for rule in RULES.values()]}]
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    done = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)
    assert set(re.findall(r"alertname: (\w+)", done.stdout + done.stderr)) == set(RULES)
    assert done.returncode == 1


# What a fleet writes


def audited(at: datetime, *hosts: HostReport, sha256: str) -> Report:
    found = reports.report(*hosts)
    return Report(at.strftime("%Y-%m-%dT%H:%M:%SZ"), "/etc/hostguard/policy.yml", sha256, found.hosts)


def fleet(now: datetime) -> dict[str, Report]:
    """Three hosts by the path that their metrics are at: one that is well, one that is not, one whose audit is old."""
    by_severity = {c.severity: c for c in CATALOGUE}
    statuses = {by_severity[Severity.HIGH].id: "fail", by_severity[Severity.MEDIUM].id: "fail"}
    well = [reports.result(control, "pass") for control in CATALOGUE]
    wrong = [reports.result(c, "fail") if c.id in statuses else r for c, r in zip(CATALOGUE, well, strict=True)]
    unseen = CATALOGUE[0]
    assert unseen.id not in statuses
    wrong[0] = reports.result(unseen, "unknown")
    waived = reports.result(CATALOGUE[1], "waived")
    assert CATALOGUE[1].id not in statuses
    day: date = (now + timedelta(days=5)).date()
    held = reports.waiver(waived.control.id, day.isoformat())
    wrong[1] = reports.Result(**{**vars(waived), "waiver": held})
    return {
        "/web1": audited(now, HostReport("web1", tuple(well)), sha256="1" * 64),
        "/web2": audited(now, HostReport("web2", tuple(wrong)), sha256="1" * 64),
        "/web3": audited(now - timedelta(hours=4), HostReport("web3", tuple(well)), sha256="2" * 64),
    }


class Prometheus:
    """A server of our own on the loopback, and its HTTP API."""

    def __init__(self, process: subprocess.Popen[str], url: str, fleet: Mapping[str, Report]) -> None:
        self.process, self.url, self.fleet = process, url, fleet

    def get(self, path: str, **arguments: str) -> Any:
        query = urllib.parse.urlencode([(name.replace("match", "match[]"), text) for name, text in arguments.items()])
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=10) as answer:  # noqa: S310 - ours
                said = json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from None
        return said["data"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        found = self.get("query", query=expression)
        assert found["resultType"] == "vector", expression
        return [
            ({k: v for k, v in sample["metric"].items() if k != "__name__"}, float(sample["value"][1]))
            for sample in found["result"]
        ]

    def until(self, true: Callable[[], bool], what: str) -> None:
        until(lambda: true() or self.process.poll() is not None, what)
        assert self.process.poll() is None, "prometheus has ended"


@pytest.fixture(scope="module")
def collected() -> Iterator[tuple[str, Mapping[str, Report]]]:
    """The text files, served as node exporters would."""
    made = fleet(datetime.now(UTC))
    texts = {path: render("prometheus", report, colour=False, width=80) for path, report in made.items()}

    class Exporter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(texts[self.path].encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Exporter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}", made
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def prometheus(
    collected: tuple[str, Mapping[str, Report]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    assert PROMETHEUS
    address, made = collected
    folder = tmp_path_factory.mktemp("prometheus")
    targets = [
        {"targets": [address], "labels": {"__metrics_path__": path, "instance": f"{path[1:]}:9100"}} for path in made
    ]
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(MONITORING / "alerts.yml")],
        "scrape_configs": [{"job_name": "node", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    argv = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0", "--log.level=info"]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, text=True)
    try:
        found: list[str] = []
        server = Prometheus(process, "", made)

        def listens() -> bool:
            found[:] = re.findall(r'msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)', (folder / "log").read_text())
            return bool(found)

        server.until(listens, "it listens")
        server.url = f"http://{found[0]}"
        server.until(lambda: "ready to receive web requests" in (folder / "log").read_text(), "it is ready")
        server.until(lambda: len(server.query("hostguard_policy_info")) == len(made), "it has scraped every host")
        server.until(lambda: all(rule["lastEvaluation"] > "2" for rule in rules(server)), "it has evaluated every rule")
        yield server
    finally:
        process.terminate()
        ended(process, seconds=30)


def rules(server: Prometheus) -> list[Any]:
    return [rule for group in server.get("rules")["groups"] for rule in group["rules"]]


def counted(server: Prometheus, status: str) -> int:
    return sum(report.count()[status] for report in server.fleet.values())  # type: ignore[index]


# Alerts


def test_every_alert_evaluates_and_those_of_the_fleet_stand(prometheus: Prometheus) -> None:
    high, medium = (
        [r.control.id for r in prometheus.fleet["/web2"].hosts[0].results if (r.status, r.severity) == ("fail", s)]
        for s in (Severity.HIGH, Severity.MEDIUM)
    )
    assert high
    assert medium
    wanted = {
        *(("HostguardHighControlFails", "web2", control) for control in high),
        *(("HostguardMediumControlFails", "web2", control) for control in medium),
        ("HostguardControlUnseen", "web2", CATALOGUE[0].id),
        ("HostguardWaiverEnds", "web2", CATALOGUE[1].id),
        ("HostguardAuditStale", "web3", ""),
        ("HostguardPoliciesDiffer", "", ""),  # pending: it stands for hours before it fires
    }

    def standing() -> set[tuple[str, str, str]]:
        labels = [alert["labels"] for alert in prometheus.get("alerts")["alerts"]]
        return {(each["alertname"], each.get("host", ""), each.get("control", "")) for each in labels}

    prometheus.until(lambda: standing() == wanted, "the alerts stand as they must")
    assert {rule["name"]: rule["health"] for rule in rules(prometheus)} == dict.fromkeys(RULES, "ok")


# Dashboard


def expression(title: str, host: str = ".*", severity: str = ".*") -> str:
    (target,) = PANELS[title]["targets"]
    text: str = target["expr"]
    return text.replace("$host", host).replace("$severity", severity)


def test_every_panel_shows_what_the_fleet_has(prometheus: Prometheus) -> None:
    results = [(h.host, r) for report in prometheus.fleet.values() for h in report.hosts for r in h.results]
    wrong = {(host, r.control.id, r.status, str(r.severity)) for host, r in results if r.status in ("fail", "unknown")}
    counts = {
        (h.host, status): number
        for report in prometheus.fleet.values()
        for h in report.hosts
        for status, number in h.count().items()
    }

    def rows(title: str, *labels: str) -> list[tuple[Any, ...]]:
        found = prometheus.query(expression(title))
        assert all(set(metric) >= set(labels) for metric, _ in found), title
        return [(*(metric[label] for label in labels), value) for metric, value in found]

    seen: dict[str, bool] = {
        "Hosts": {row[:2]: row[2] for row in rows("Hosts", "host", "status")} == counts,
        "Number of hosts": rows("Number of hosts") == [(3,)],
        "Controls that fail": rows("Controls that fail") == [(counted(prometheus, "fail"),)],
        "Controls not seen": rows("Controls not seen") == [(1,)],
        "Controls waived": rows("Controls waived") == [(1,)],
        "Oldest audit": 4 * HOUR <= rows("Oldest audit")[0][0] < 5 * HOUR,
        "Policies in use": rows("Policies in use") == [(2,)],
        "Over time": dict(rows("Over time", "status"))
        == {status: counted(prometheus, status) for status in ("fail", "unknown", "waived")},
        "What does not hold": {
            row[:4] for row in rows("What does not hold", "host", "control", "status", "severity")
        } == wrong,
        "Age of audits": next(iter(rows("Age of audits", "host")))[0] == "web3",
        "Waivers": [row[:2] for row in rows("Waivers", "host", "control")] == [("web2", CATALOGUE[1].id)]
        and 5 * 24 * HOUR < rows("Waivers")[0][0] <= 6 * 24 * HOUR,
        "Policies": sorted(row[1:] for row in rows("Policies", "path", "sha256")) == [("1" * 64, 2), ("2" * 64, 1)],
    }  # fmt: skip
    assert seen == dict.fromkeys(PANELS, True)


def test_what_is_chosen_narrows_it(prometheus: Prometheus) -> None:
    assert {m["host"] for m, _ in prometheus.query(expression("Hosts", host="(web1|web3)"))} == {"web1", "web3"}
    found = prometheus.query(expression("What does not hold", severity="medium"))
    assert {metric["severity"] for metric, _ in found} == {"medium"}
    assert prometheus.query(expression("Controls that fail", host="nobody")) == [], "nothing seen is not nothing wrong"


def test_what_can_be_chosen_is_there(prometheus: Prometheus) -> None:
    offered = {}
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            offered[variable["name"]] = prometheus.get(f"label/{label}/values", match=metric)
    assert offered == {"host": ["web1", "web2", "web3"], "severity": sorted(Severity)}


def test_the_dashboard_is_one_to_grafanas_own_types() -> None:
    """They keep what they know, and drop what they don't."""
    register_default_plugins()
    kept = JSONEncoder(sort_keys=True).encode(Dashboard.from_json(DASHBOARD))
    assert lost(DASHBOARD, json.loads(kept), "") == []


def lost(wanted: Any, found: Any, where: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [each for key in wanted for each in lost(wanted[key], found.get(key), f"{where}/{key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [
            each for at, pair in enumerate(zip(wanted, found, strict=True)) for each in lost(*pair, f"{where}/{at}")
        ]
    return [] if wanted == found else [where]


def test_the_dashboard_asks_the_data_source_that_is_chosen() -> None:
    sources = re.findall(r'"uid": "([^"]*)"', json.dumps({k: v for k, v in DASHBOARD.items() if k != "uid"}))
    assert set(sources) == {"${datasource}"}
    asked = re.findall(r"\$(\w+)", " ".join(target["expr"] for p in PANELS.values() for target in p["targets"]))
    assert set(asked) == {"host", "severity"}
    assert len(PANELS) == len(DASHBOARD["panels"]) == len({panel["id"] for panel in DASHBOARD["panels"]})
    places = [tuple(panel["gridPos"][key] for key in "xywh") for panel in DASHBOARD["panels"]]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(set(cells)) == len(cells), "no panel lies on another"
    assert max(x for x, _ in cells) < 24
