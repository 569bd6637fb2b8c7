"""What changed since an apply, and what did it: only what is certain is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hostguard import drift
from hostguard.report import render
from hostguard.result import Change, Report
from hostguard.status import Exit

APPLIED = "2026-11-24T12:00:00Z"
KEY, FIN = "net.ipv4.tcp_fin_timeout", "kernel.fin-timeout"
LATER = "/etc/sysctl.d/zzz.conf"
OURS = "/etc/sysctl.d/zz-hostguard.conf"


def parameter(live: str = "30", boot: str = "30", control: str = FIN) -> dict[str, Any]:
    """The answer of a host with one parameter, applied as 30."""
    known = {"boot_from": f"{LATER}:1", "later": None, "trouble": "", "foreign": False}
    resource = {"id": "p", "kind": "sysctl", "control": control, "key": KEY, "value": "30", "compare": "equal"}
    return answer(resource, {"live": live, "boot": boot, **known})


def answer(resource: dict[str, Any], seen: Any) -> dict[str, Any]:
    return {
        "generation": {"number": 1, "created": APPLIED, "policy": {"path": "p", "sha256": "s"}},
        "resources": [resource],
        "observations": {resource["id"]: ["value", seen, ""]},
        "leftovers": [],
        "evidence": {},
        "traces": {"setters": {}, "files": {}, "started": {}},
    }


def traced(found: dict[str, Any], place: str, field: str, package: str | None = "") -> dict[str, Any]:
    path = place.partition(":")[0]
    files = {path: {"changed": "2026-11-24T13:00:00Z", "owner": "jane", "package": package}}
    return {**found, "traces": {"setters": {"p": {field: place}}, "files": files, "started": {}}}


def changes(found: dict[str, Any]) -> tuple[Change, ...]:
    (result,) = drift.judge("h", found).results
    return result.drift


def test_what_is_as_it_was_applied_passes() -> None:
    (result,) = drift.judge("h", parameter()).results
    assert (result.control.id, result.status, result.drift) == (FIN, "pass", ())


@pytest.mark.parametrize(
    ("package", "who"),
    [("", "jane's, of no package"), ("tuner", "jane's, of the package tuner"), (None, "jane's")],
)
def test_the_file_that_sets_it(package: str | None, who: str) -> None:
    (found,) = changes(traced(parameter(boot="61"), f"{LATER}:1", "at boot", package))
    assert found == Change(f"{KEY}: at boot is 61 ({LATER}:1)", "2026-11-24T13:00:00Z", f"{LATER}:1 ({who})")


def test_a_file_of_ours_is_no_culprit() -> None:
    (found,) = changes(traced(parameter(boot="61"), f"{OURS}:1", "at boot"))
    assert (found.since, found.by) == ("2026-11-24T13:00:00Z", f"not known ({OURS} is jane's, of no package)")


def test_what_nothing_says_is_not_known() -> None:
    """A trace of another field, a file that is gone, a service that runs: none of them did it for certain."""
    found = parameter(live="61")
    assert changes(found) == (Change(f"{KEY}: live is 61", "", "not known"),)
    assert changes(traced(found, f"{LATER}:1", "at boot"))[0].by == "not known"
    gone = traced(found, f"{LATER}:1", "live")
    gone["traces"]["files"] = {}
    assert changes(gone)[0].by == "not known"
    found["traces"]["started"] = {"ufw.service": "2026-11-24T13:00:00Z"}
    assert changes(found)[0].by == "not known"


def test_who_may_have_written_rules_was_started_since() -> None:
    resource = {"id": "r", "kind": "ruleset", "control": "egress.output", "family": "ipv4", "hook": "OUTPUT",
                "chain": "HOSTGUARD-OUTPUT", "policy": "DROP", "rules": [], "first": True}  # fmt: skip
    seen = {"policy": "ACCEPT", "rules": [], "canonical": None, "jumps": [1], "behind": 0, "before": "", "table": True,
            "dormant": False, "owner": False, "sending": [], "backend": "nft", "elsewhere": False}  # fmt: skip
    found = answer(resource, seen)
    found["traces"]["started"] = {"docker.service": "2026-11-24T11:59:59Z"}
    assert changes(found)[0].by == "not known"
    found["traces"]["started"]["ufw.service"] = "2026-11-24T12:00:00Z"
    assert changes(found)[0].by == "not known; started since the apply: ufw.service (2026-11-24T12:00:00Z)"


def test_a_control_of_another_hostguard_is_not_passed_over() -> None:
    (result,) = drift.judge("h", parameter(live="61", control="kernel.of-the-future")).results
    assert (result.control.id, result.status, result.severity) == ("kernel.of-the-future", "fail", "high")


def test_an_id_that_is_none_reaches_no_format() -> None:
    (result,) = drift.judge("h", parameter(live="61", control="x.`|<b>\x1b[31m")).results
    assert (result.control.id, result.status) == ("other.unnamed", "fail")


def test_a_host_that_did_not_answer_passes_nothing() -> None:
    found = drift.unreached("h", "no way there")
    assert {result.status for result in found.results} == {"unknown"}
    assert Report("", "", "", (found,)).exit() == Exit.UNSEEN


def test_the_formats_say_it() -> None:
    report = Report("", "p", "s", (drift.judge("h", traced(parameter(boot="61"), f"{LATER}:1", "at boot")),))
    (result,) = json.loads(render("json", report, colour=False, width=80))["hosts"][0]["results"]
    by = f"{LATER}:1 (jane's, of no package)"
    what = f"{KEY}: at boot is 61 ({LATER}:1)"
    assert result["drift"] == [{"what": what, "since": "2026-11-24T13:00:00Z", "by": by}]
    table = render("table", report, colour=False, width=200)
    assert f"{what} · since: 2026-11-24T13:00:00Z · by: {by}" in table
