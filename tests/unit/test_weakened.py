"""What a policy takes from a control: it is waived by the policy itself, in every format, and never passes."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from hostguard.ansible.actions.audit import well
from hostguard.baseline import worse
from hostguard.bundle import compile_policy
from hostguard.control import Verdict, Weakening
from hostguard.controls import CATALOGUE, egress
from hostguard.controls.kernel import derived
from hostguard.policy.load import parse
from hostguard.report import NAMES, render
from hostguard.result import HostReport, Report, Result
from hostguard.status import Exit
from hostguard.verdict import Seen, judge
from hostguard.waivers import heed
from tests.unit import reports

HEAD = "version: 1\n"
EGRESS_HEAD = (
    HEAD
    + "egress: {via: direct, resolvers: [10.0.0.2], providers: {p: {cidrs: [203.0.113.5/32]}},\n"
    + "         inbound: {ssh: {from: [10.77.0.0/24], ports: [22]}}, %s}\n"
)
TODAY = datetime.date(2026, 11, 26)


def weakenings(text: str) -> dict[str, list[str]]:
    """The controls that a policy weakens, with what in it does so."""
    compiled = compile_policy(parse(text.encode(), "hostguard.yml"))
    found = {
        control.id: list(map(str, compiled.weakened(control)))
        for control in CATALOGUE
        if control.area in compiled.loaded.policy.sections
    }
    return {control: keys for control, keys in found.items() if keys}


def test_a_policy_that_observes_shows_nothing_of_what_enforcing_is_for() -> None:
    found = weakenings(EGRESS_HEAD % "mode: observe")
    wanting = {control.id for control in egress.AREA.controls if hasattr(control, "wants")} - {"egress.names"} | {
        "egress.processes"
    }
    assert found == {control: ["egress.mode: observe"] for control in wanting}
    assert weakenings(EGRESS_HEAD % "mode: enforce") == {}


def test_names_are_observed_where_there_are_any() -> None:
    text = (EGRESS_HEAD % "mode: observe").replace("cidrs: [203.0.113.5/32]", "hosts: [api.provider.com]")
    assert weakenings(text)["egress.names"] == ["egress.mode: observe"]


def test_frames_that_are_left_alone() -> None:
    assert weakenings(EGRESS_HEAD % "frames: allow") == {"egress.frames": ["egress.frames: allow"]}


@pytest.mark.parametrize(
    ("kernel", "control"),
    [
        ("net.ipv4.tcp_syncookies: 0", "kernel.syncookies"),
        ("net.ipv4.tcp_syncookies: 2", "kernel.syncookies"),
        ("net.ipv4.tcp_tw_reuse: 0", "kernel.tw-reuse"),
        ("net.ipv4.tcp_tw_reuse: 2", "kernel.tw-reuse"),
        ("net.core.somaxconn: 128", "kernel.somaxconn"),
        ("net.ipv4.tcp_max_syn_backlog: 4095", "kernel.syn-backlog"),
        ("net.ipv4.tcp_keepalive_time: 7200", "kernel.keepalive"),
        ("net.ipv4.tcp_keepalive_probes: 7", "kernel.keepalive"),
        ("net.ipv4.tcp_fin_timeout: 60", "kernel.fin-timeout"),
        ('net.ipv4.ip_local_port_range: "32768 60999"', "kernel.port-range"),
        ("fs.file-max: 100000", "kernel.file-max"),
        ("fs.nr_open: 65536", "kernel.nr-open"),
        ("net.ipv4.tcp_syncookies: 1", ""),
        ("net.ipv4.tcp_timestamps: 2", ""),
        ("net.core.somaxconn: 65535", ""),
        ("net.ipv4.tcp_keepalive_time: 30", ""),
        ("net.ipv4.tcp_fin_timeout: 15", ""),
        ('net.ipv4.ip_local_port_range: "10240 65535"', ""),
    ],
)
def test_a_kernel_value_below_its_controls_floor(kernel: str, control: str) -> None:
    assert list(weakenings(f"{HEAD}kernel:\n  {kernel}\n")) == [control] * bool(control)


def test_every_parameter_of_the_catalogue_can_be_below_its_floor() -> None:
    """A parameter that is added there without one raises here."""
    compiled = compile_policy(parse(f"{HEAD}kernel: {{}}\n".encode(), "p"))
    for key, (control, floor) in derived(compiled.context).items():
        more = "keepalive" in key or "fin" in key
        weak = "10240 10241" if " " in floor else str(int(floor) + (60 if more else -1))
        reuse = ', net.ipv4.tcp_tw_reuse: "0"' if key.endswith("timestamps") else ""
        assert control in weakenings(f'{HEAD}kernel: {{{key}: "{weak}"{reuse}}}\n'), key


def test_the_floor_of_ports_is_what_the_capacity_needs() -> None:
    ports = 'kernel: {net.ipv4.ip_local_port_range: "32768 60999"}\n'
    assert weakenings(f"{HEAD}capacity: {{peak_rps: 2000, p99: 800ms}}\n{ports}") == {}
    assert list(weakenings(f"{HEAD}capacity: {{peak_rps: 20000, p99: 800ms}}\n{ports}")) == ["kernel.port-range"]


@pytest.mark.parametrize(("own", "below"), [("262144", True), ("483200", False), ("0", False)])
def test_the_floor_of_tracked_connections_is_what_the_capacity_needs(own: str, below: bool) -> None:
    text = (EGRESS_HEAD % "mode: enforce") + "capacity: {peak_rps: 2000, p99: 800ms}\n"
    text += f"kernel: {{net.netfilter.nf_conntrack_max: {own}}}\n"
    assert list(weakenings(text)) == ["kernel.tracked-connections"] * below


def test_the_floor_of_open_files() -> None:
    every = {"limits.pam", "limits.systemd-default", "limits.units", "limits.running"}
    assert set(weakenings(f"{HEAD}limits: {{nofile: 4096}}\n")) == every
    capacity = "capacity: {peak_rps: 2000, p99: 800ms}\n"
    assert weakenings(f"{HEAD}{capacity}limits: {{nofile: 16384}}\n") == {}
    assert set(weakenings(f"{HEAD}{capacity}limits: {{nofile: 7423}}\n")) == every


def test_a_floor_of_the_platform_below_the_articles() -> None:
    assert set(weakenings(f'{HEAD}platform: {{kernel_min: "4.17", openssl_min: "1.0.2"}}\n')) == {
        "platform.kernel", "platform.openssl",
    }  # fmt: skip
    assert weakenings(f'{HEAD}platform: {{kernel_min: "4.18.0", openssl_min: "3.0"}}\n') == {}


def judged(text: str, evidence: dict[str, Any]) -> dict[str, Result]:
    compiled = compile_policy(parse(text.encode(), "hostguard.yml"))
    said = {name: {"said": answer} for name, answer in evidence.items()}
    return {result.control.id: result for result in judge(compiled, "h", Seen((), {}, said)).results}


OLD = HEAD + 'platform: {kernel_min: "3.10"}\n'


@pytest.mark.parametrize(("release", "status"), [("4.9.0", "waived"), ("3.2.0", "fail")])
def test_what_holds_with_less_is_waived_and_what_fails_fails(release: str, status: str) -> None:
    found = judged(OLD, {"platform.kernel/uname": ["Linux", "h", release, "", ""]})["platform.kernel"]
    assert found.status == status
    waived = status == "waived"
    assert [each.line for each in found.weakened] == [2] * waived
    assert bool(found.references) != waived


def test_what_was_not_seen_stays_unknown() -> None:
    assert judged(OLD, {})["platform.kernel"].status == "unknown"


def test_what_is_switched_off_is_waived_though_nothing_is_asked() -> None:
    found = judged(EGRESS_HEAD % "frames: allow", {})
    assert (found["egress.frames"].status, found["egress.forward"].status) == ("waived", "not_applicable")


def weak(line: int = 12) -> Result:
    """A result that the policy itself waives."""
    made = reports.result(CATALOGUE[9], "pass")
    return replace(
        made, status="waived", weakened=(Weakening(("egress", "mode"), "observe", "it gets out", line=line),)
    )


def report() -> Report:
    well = reports.host("bar1", [])
    return reports.report(HostReport("bar1", (*well.results[:9], weak(), *well.results[10:])))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"journal", "prometheus"}))
def test_every_format_names_the_key_and_says_all_well_of_nothing(name: str) -> None:
    text = " ".join(render(name, report(), colour=False, width=200).replace("&#58;", ":").split())
    assert "egress.mode: observe" in text
    assert "all well" not in text
    assert "All is as" not in text


def test_as_json() -> None:
    plain = json.loads(render("json", report(), colour=False, width=80))
    schema = json.loads((Path(__file__).parents[2] / "hostguard/report/audit-1.schema.json").read_text())
    jsonschema.validate(plain, schema, cls=jsonschema.Draft202012Validator)
    found = plain["hosts"][0]["results"][9]
    assert (found["status"], found["references"]) == ("waived", [])
    assert found["weakened"] == [{"key": "egress.mode", "found": "observe", "line": 12, "means": "it gets out"}]
    assert "line 12" in found["waiver"]["reason"]


def test_as_sarif_and_junit() -> None:
    (found,) = json.loads(render("sarif", report(), colour=False, width=80))["runs"][0]["results"]
    assert found["locations"][0]["physicalLocation"]["region"]["startLine"] == 12
    assert "egress.mode: observe" in found["suppressions"][0]["justification"]
    assert 'skipped="1"' in render("junit", report(), colour=False, width=80)


def test_a_named_waiver_adds_its_name_and_day() -> None:
    compiled = HostReport("h", (weak(),))
    for day, named in (("2027-01-31", True), ("2026-11-01", False)):
        (found,) = heed(compiled, [reports.waiver(CATALOGUE[9].id, day)], TODAY).report.results
        assert found.status == "waived"
        assert (found.waiver is not None) == named


def test_the_headline_of_a_role() -> None:
    assert well(HostReport("h", (weak(),))) == "nothing fails, 1 waived by the policy itself (egress.mode: observe)"
    assert well(reports.host("h", [])) == "all well"


def test_what_is_only_preferred_fails_no_gate() -> None:
    no_sync = {"platform.clock-sync/clock": {"code": 5, "status": 0x40, "maxerror": 1, "esterror": 1}}
    for level, code in (("preferred", Exit.WELL), ("required", Exit.FAILED)):
        found = judged(f"{HEAD}platform: {{clock_sync: {level}}}\n", no_sync)["platform.clock-sync"]
        assert found.status == "fail"
        assert reports.report(HostReport("h", (found,))).exit() == code


def test_worse_than_before() -> None:
    judging, wanting = reports.result(CATALOGUE[0], "fail"), reports.result(CATALOGUE[7], "fail")
    before = [HostReport("h", (judging, wanting))]
    assert worse(before, before) == []
    other = [HostReport("h", (replace(judging, actual="2"), replace(wanting, actual="2")))]
    assert [result.control.id for _, result in worse(before, other)] == [wanting.control.id]
    assert len(worse([HostReport("h", ())], before)) == 2
    assert worse([HostReport("h", ())], [HostReport("h", (replace(judging, preferred=True),))]) == []


def test_the_command_says_it_before_the_audit_does(tmp_path: Path) -> None:
    policy = tmp_path / "hostguard.yml"
    policy.write_text(f"{HEAD}kernel:\n  net.ipv4.tcp_syncookies: 0\n", encoding="utf-8")
    call = [sys.executable, "-m", "hostguard", "validate", str(policy)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert f"{policy}:3: kernel.net.ipv4.tcp_syncookies: 0: " in done.stderr
    assert "kernel.syncookies" in done.stderr


def test_a_line_that_an_inventory_sets_is_not_of_the_file() -> None:
    loaded = parse(f"{HEAD}kernel: {{net.ipv4.tcp_syncookies: 1}}\n".encode(), "p",
                   [("hostguard_policy", {"kernel": {"net.ipv4.tcp_syncookies": 0}})])  # fmt: skip
    compiled = compile_policy(loaded)
    control = next(control for control in CATALOGUE if control.id == "kernel.syncookies")
    assert [each.line for each in compiled.weakened(control)] == [0]


def test_a_verdict_is_required_unless_it_says_otherwise() -> None:
    assert not Verdict("fail", "", "").preferred
