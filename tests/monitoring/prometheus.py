"""A Prometheus of the test's own on the loopback, and its HTTP API."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.patience import ended, until, whole
from tests.programs import PROMETHEUS, PROMTOOL

MONITORING = Path(__file__).parents[2] / "monitoring"


def promtool(*arguments: str, folder: Path = MONITORING) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(PROMTOOL), *arguments], cwd=folder, capture_output=True, text=True, check=False)


@dataclass
class Prometheus:
    process: subprocess.Popen[str]
    url: str = ""

    def get(self, path: str, **arguments: str) -> Any:
        query = urllib.parse.urlencode([(name.replace("match", "match[]"), text) for name, text in arguments.items()])
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=120) as answer:  # noqa: S310 - ours
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

    def rules(self) -> list[Any]:
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("alerts")["alerts"]
        return found

    def until(self, true: Callable[[], bool], what: str) -> None:
        until(lambda: true() or self.process.poll() is not None, what)
        assert self.process.poll() is None, "prometheus has ended"


@contextmanager
def serving(folder: Path, rules: Sequence[Path], *scrapes: Mapping[str, Any]) -> Iterator[Prometheus]:
    """One that has evaluated every rule, with its files in `folder`."""
    assert PROMETHEUS
    config = {
        "global": {"scrape_interval": whole(1) + "s", "evaluation_interval": "1s"},
        "rule_files": [str(path) for path in rules],
        "scrape_configs": list(scrapes),
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    argv = [PROMETHEUS, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0", "--log.level=info"]  # fmt: skip
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, text=True)
    try:
        found: list[str] = []
        server = Prometheus(process)

        def listens() -> bool:
            found[:] = re.findall(r'msg="Listening on" address=(127\.0\.0\.1:[1-9]\d*)', (folder / "log").read_text())
            return bool(found)

        server.until(listens, "it listens")
        server.url = f"http://{found[0]}"
        server.until(lambda: "ready to receive web requests" in (folder / "log").read_text(), "it is ready")
        server.until(lambda: all(rule["lastEvaluation"] > "2" for rule in server.rules()), "it has evaluated each rule")
        yield server
    finally:
        process.terminate()
        ended(process, seconds=30)
