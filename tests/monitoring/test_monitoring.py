"""Alerts and dashboard of the fleet, on a Prometheus: it evaluates every expression over what audits really write."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from hostguard.controls import CATALOGUE
from hostguard.report import render
from hostguard.result import HostReport, Report
from hostguard.status import Severity
from tests.monitoring.prometheus import MONITORING, Prometheus, serving
from tests.unit import reports

DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
HOUR = 3600
STALE, UNFINISHED = "secrets.agent-fresh", "secrets.rotation"
"""Controls that have alerts of their own."""

pytestmark = pytest.mark.needs("prometheus")


# What a fleet writes


def audited(at: datetime, *hosts: HostReport, sha256: str) -> Report:
    found = reports.report(*hosts)
    return Report(at.strftime("%Y-%m-%dT%H:%M:%SZ"), "/etc/hostguard/policy.yml", sha256, found.hosts)


def fleet(now: datetime) -> dict[str, Report]:
    """Three hosts by the path that their metrics are at: one that is well, one that is not, one whose audit is old."""
    by_severity = {c.severity: c for c in CATALOGUE}
    statuses = {by_severity[Severity.HIGH].id, by_severity[Severity.MEDIUM].id, STALE, UNFINISHED}
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


@pytest.fixture(scope="module")
def made() -> Mapping[str, Report]:
    return fleet(datetime.now(UTC))


@pytest.fixture(scope="module")
def exporter(made: Mapping[str, Report]) -> Iterator[str]:
    """Where the text files are served, as node exporters would."""
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
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def prometheus(
    exporter: str, made: Mapping[str, Report], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    targets = [
        {"targets": [exporter], "labels": {"__metrics_path__": path, "instance": f"{path[1:]}:9100"}} for path in made
    ]
    folder = tmp_path_factory.mktemp("prometheus")
    with serving(folder, [MONITORING / "alerts.yml"], {"job_name": "node", "static_configs": targets}) as server:
        server.until(lambda: len(server.query("hostguard_policy_info")) == len(made), "it has scraped every host")
        yield server


def counted(made: Mapping[str, Report], status: str) -> int:
    return sum(report.count()[status] for report in made.values())  # type: ignore[index]


# Alerts


def test_every_alert_evaluates_and_those_of_the_fleet_stand(prometheus: Prometheus, made: Mapping[str, Report]) -> None:
    high, medium = (
        [
            r.control.id
            for r in made["/web2"].hosts[0].results
            if (r.status, r.severity) == ("fail", s) and r.control.id != STALE
        ]
        for s in (Severity.HIGH, Severity.MEDIUM)
    )
    assert high
    assert medium
    wanted = {
        *(("HostguardHighControlFails", "web2", control) for control in high),
        *(("HostguardMediumControlFails", "web2", control) for control in medium),
        ("HostguardSecretsStale", "web2", STALE),
        ("HostguardRotationUnfinished", "web2", UNFINISHED),
        ("HostguardControlUnseen", "web2", CATALOGUE[0].id),
        ("HostguardWaiverEnds", "web2", CATALOGUE[1].id),
        ("HostguardAuditStale", "web3", ""),
        ("HostguardPoliciesDiffer", "", ""),  # pending: it stands for hours before it fires
    }

    def standing() -> set[tuple[str, str, str]]:
        labels = [alert["labels"] for alert in prometheus.alerts()]
        return {(each["alertname"], each.get("host", ""), each.get("control", "")) for each in labels}

    prometheus.until(lambda: standing() == wanted, "the alerts stand as they must")
    assert {rule["health"] for rule in prometheus.rules()} == {"ok"}


# Dashboard


def expression(title: str, host: str = ".*", severity: str = ".*") -> str:
    (target,) = PANELS[title]["targets"]
    text: str = target["expr"]
    return text.replace("$host", host).replace("$severity", severity)


def test_every_panel_shows_what_the_fleet_has(prometheus: Prometheus, made: Mapping[str, Report]) -> None:
    results = [(h.host, r) for report in made.values() for h in report.hosts for r in h.results]
    wrong = {(host, r.control.id, r.status, str(r.severity)) for host, r in results if r.status in ("fail", "unknown")}
    counts = {
        (h.host, status): number
        for report in made.values()
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
        "Controls that fail": rows("Controls that fail") == [(counted(made, "fail"),)],
        "Controls not seen": rows("Controls not seen") == [(1,)],
        "Controls waived": rows("Controls waived") == [(1,)],
        "Oldest audit": 4 * HOUR <= rows("Oldest audit")[0][0] < 5 * HOUR,
        "Policies in use": rows("Policies in use") == [(2,)],
        "Over time": dict(rows("Over time", "status"))
        == {status: counted(made, status) for status in ("fail", "unknown", "waived")},
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
