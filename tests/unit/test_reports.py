"""Every format says what the report says, and nothing that a host says breaks out of any: read by other parsers."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped
from markdown_it import MarkdownIt
from markdown_it.token import Token
from prometheus_client.parser import text_string_to_metric_families

from hostguard.cli import audit
from hostguard.controls import CATALOGUE
from hostguard.policy import load
from hostguard.report import NAMES, markdown, render
from hostguard.report.html import findings
from hostguard.report.page import segments
from hostguard.report.sarif import artifact, line_of
from hostguard.report.text import FIRST, alike_in_all, visible
from hostguard.result import HostReport, Report
from hostguard.status import STATUSES, Severity
from tests.programs import PROMTOOL
from tests.unit import reports

ROOT = Path(__file__).parents[2]
SCHEMAS = Path(__file__).parent / "schemas"
CASES = {
    "every status": reports.every_status(),
    "compared": reports.compared(),
    "drifted": reports.drifted(),
    "hostile": reports.hostile(),
    "fleet": reports.fleet(60),
}
EMPTY = reports.report()

cases = pytest.mark.parametrize("report", CASES.values(), ids=CASES.keys())


def said(name: str, report: Report, colour: bool = False) -> str:
    return render(name, report, colour=colour, width=120)


def pairs(report: Report) -> int:
    return sum(report.count().values())


# Every format


@pytest.mark.parametrize("name", NAMES)
@cases
def test_text_that_any_terminal_and_any_parser_takes(name: str, report: Report) -> None:
    text = said(name, report)
    assert text.encode("utf-8").endswith(b"\n")
    assert {letter for letter in text if not letter.isprintable()} <= {"\n"}


def test_colour_is_the_only_escape_on_a_terminal() -> None:
    text = said("table", CASES["hostile"], colour=True)
    assert "\x1b[" in text
    assert not re.search(r"[^\x20-\x7e\n]", "".join(c for c in re.sub(r"\x1b\[[0-9;]*m", "", text) if c.isascii()))
    assert "\x1b[2J" not in text
    assert "\x1b[31m\\" not in text


@pytest.mark.parametrize("name", NAMES)
def test_an_audit_of_no_host_is_a_report_too(name: str) -> None:
    assert said(name, EMPTY)


def test_one_run_writes_every_format(tmp_path: Path) -> None:
    (tmp_path / "hostguard.yml").write_text("version: 1\n\nplatform:\n  cpu_min: 1\n", encoding="utf-8")
    formats = [word for name in NAMES for word in ("--format", f"{name}={name}.out")]
    call = [sys.executable, "-m", "hostguard", "audit", *formats]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 3), done.stderr
    assert done.stdout == ""
    assert {path.name for path in tmp_path.iterdir()} == {"hostguard.yml", *(f"{name}.out" for name in NAMES)}
    found = json.loads((tmp_path / "sarif.out").read_text(encoding="utf-8"))
    (file,) = found["runs"][0]["artifacts"]
    assert file["location"] == {"uri": "hostguard.yml", "uriBaseId": "%SRCROOT%"}
    assert file["hashes"]["sha-256"] == hashlib.sha256((tmp_path / "hostguard.yml").read_bytes()).hexdigest()


def test_the_help_names_every_format() -> None:
    assert all(name in audit.FORMATS for name in NAMES)


# Table


def test_the_table_shows_what_is_known_after_what_is_new() -> None:
    text = said("table", CASES["compared"])
    assert f"bar1: {len(CATALOGUE) - 5} pass, 3 fail, 2 of them new, 1 unknown, 1 waived\n" in text
    assert f"bar2: {len(CATALOGUE) - 2} pass, 1 fail, 1 of them new, 1 unknown\n" in text
    first, explained = text.index("known    platform.aes"), text.index("known platform.aes")
    assert text.index("FAIL     platform.cpus") < first
    assert text.index("FAIL platform.openssl-running") < explained


def test_the_table_names_no_policy_where_there_was_none() -> None:
    assert said("table", CASES["drifted"]).endswith(f"\nAgainst the last apply of each host, {reports.GENERATED}\n")


def test_the_table_shows_hosts_that_are_alike_once() -> None:
    report = reports.report(*(reports.host(f"web{n}", ["fail", "waived", "unknown"]) for n in range(3)),
                            reports.host("db", ["fail"]))  # fmt: skip
    text = said("table", report)
    assert text.index("web0, web1, web2 (3 hosts alike)\n") < text.index("\ndb\n") < text.index("web1: ")
    assert len(re.findall("^FAIL +platform.aes +128$", text, re.MULTILINE)) == 2
    assert text.count(" on web0, web1, web2  until 2027-01-31 by ops@example.com") == 1


def test_a_log_keeps_no_blanks_at_the_end_of_a_line() -> None:
    assert not re.search(r" $", said("table", CASES["fleet"]), re.MULTILINE)


# JSON


def closed(schema: Any) -> Any:
    """The same schema, in which a key that it does not name is wrong."""
    if isinstance(schema, dict):
        made = {key: closed(each) for key, each in schema.items()}
        return {**made, "additionalProperties": False} if "required" in made and "type" in made else made
    return [closed(each) for each in schema] if isinstance(schema, list) else schema


def audit_schema() -> Any:
    return json.loads((ROOT / "hostguard/report/audit-1.schema.json").read_text(encoding="utf-8"))


@cases
def test_json_is_as_its_schema_says_and_says_no_more(report: Report) -> None:
    schema = closed(audit_schema())
    checker = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    checker.check_schema(schema)
    found = json.loads(said("json", report))
    checker.validate(found)
    assert found["summary"] == report.count()


def test_the_schema_refuses_what_is_none() -> None:
    good = json.loads(said("json", CASES["every status"]))
    for path, value in (
        (("hosts", 0, "results", 0, "status"), "passed"),
        (("hosts", 0, "results", 3, "waiver"), {}),
        (("summary", "pass"), -1),
        (("warnings",), None),
    ):
        wrong = copy.deepcopy(good)
        place = wrong
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, audit_schema())


# JUnit


@cases
def test_junit_as_junitparser_reads_it(report: Report) -> None:
    suites = list(JUnitXml.fromstring(said("junit", report).encode()))
    assert len(suites) == len(report.hosts)
    for suite, host in zip(suites, report.hosts, strict=True):
        count = host.count()
        new, skipped = count["fail"] - host.known(), count["waived"] + count["not_applicable"] + host.known()
        assert suite.tests == len(list(suite)) == len(host.results)
        assert (suite.failures, suite.errors, suite.skipped) == (new, count["unknown"], skipped)
        assert suite.timestamp == "2026-11-23T18:00:00"
        kinds = Counter(type(case.result[0]) if case.result else None for case in suite)
        assert kinds[Failure] == new
        assert kinds[Error] == count["unknown"]
        assert kinds[Skipped] == skipped
        assert kinds[None] == count["pass"]


def test_junit_says_why_and_what_to_do() -> None:
    suite = next(iter(JUnitXml.fromstring(said("junit", CASES["every status"]).encode())))
    cases = {case.name: case for case in suite}
    failed = cases["platform.kernel"]
    assert (failed.classname, failed.result[0].type) == ("bar1.platform", "high")
    assert "expected ≥ 65535, found 128" in failed.result[0].message
    assert "to do: Upgrade the distribution's kernel" in failed.result[0].text
    assert "the waiver ended on 2026-11-01" in cases["platform.fips"].result[0].text
    assert cases["platform.openssl"].result[0].message == "could not be seen: no right to"
    assert "waived until 2027-01-31" in cases["platform.openssl-running"].result[0].message


def test_junit_fails_no_build_for_what_was_known() -> None:
    suite = next(iter(JUnitXml.fromstring(said("junit", CASES["compared"]).encode())))
    (known,) = next(case for case in suite if case.name == "platform.aes").result
    assert isinstance(known, Skipped)
    assert known.message.startswith("failed in the baseline already: ")
    assert "to do: " in known.text


def test_junit_says_what_changed_and_names_no_policy_where_there_was_none() -> None:
    suite = next(iter(JUnitXml.fromstring(said("junit", CASES["drifted"]).encode())))
    assert next(iter(suite)).result[0].text.count("drift: net.core.somaxconn: live is 128 · since: ") == 2
    assert not list(suite.properties())


def test_junit_keeps_hostile_text_as_text() -> None:
    root = ElementTree.fromstring(said("junit", CASES["hostile"]))  # noqa: S314 - our own
    assert {element.tag for element in root.iter()} == {
        "testsuites", "testsuite", "properties", "property", "testcase", "failure", "error", "skipped",
    }  # fmt: skip
    assert any("<script>alert(1)</script>" in (element.text or "") for element in root.iter("failure"))


# SARIF


def sarif(report: Report) -> Any:
    found = json.loads(said("sarif", report))
    schema = json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))
    jsonschema.Draft4Validator(schema, format_checker=jsonschema.FormatChecker()).validate(found)
    (run,) = found["runs"]
    return run


@cases
def test_sarif_as_its_schema_says(report: Report) -> None:
    run, count = sarif(report), report.count()
    results = run["results"]
    # What passes would be an alert on GitHub, whatever its kind.
    assert len(results) == count["fail"] + count["unknown"] + count["waived"]
    assert Counter(result["kind"] for result in results) == Counter(
        fail=count["fail"] + count["waived"], open=count["unknown"]
    )
    # SARIF 3.27.10: of any other kind than fail the level is none.
    assert all((result["level"] == "none") == (result["kind"] != "fail") for result in results)
    assert sum(bool(result["suppressions"]) for result in results) == count["waived"]
    prints = [result["partialFingerprints"]["primaryLocationLineHash"] for result in results]
    assert len(set(prints)) == len(prints)
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in results)
    assert not any("](" in result["message"]["text"] for result in results)


def test_sarif_says_what_is_new_of_every_result_or_of_none() -> None:
    def states(report: Report) -> dict[tuple[str, str], str | None]:
        return {(r["properties"]["host"], r["ruleId"]): r.get("baselineState") for r in sarif(report)["results"]}

    assert set(states(CASES["every status"]).values()) == {None}
    assert states(CASES["compared"]) == {
        ("bar1", "platform.aes"): "unchanged",
        ("bar1", "platform.kernel"): "new",
        ("bar1", "platform.openssl"): "updated",
        ("bar1", "platform.openssl-running"): "unchanged",
        ("bar1", "platform.cpus"): "updated",
        ("bar2", "platform.openssl"): "new",
        ("bar2", "platform.openssl-running"): "new",
    }


def test_sarif_of_drift() -> None:
    run = sarif(CASES["drifted"])
    assert run["artifacts"] == []
    result = next(each for each in run["results"] if each["ruleId"] == "platform.aes")
    # Code scanning takes no result without a file.
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "hostguard.yml"
    assert result["message"]["text"].splitlines()[1:] == [
        "net.core.somaxconn: live is 128 · since: 2026-11-23T17:00:00Z · by: /etc/sysctl.d/zzz.conf:1 (jane's)",
        "net.core.somaxconn: live is 128 · since: not known · by: not known",
    ]


def test_sarif_has_a_rule_for_every_control() -> None:
    rules = sarif(EMPTY)["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [control.id for control in CATALOGUE]
    levels = {Severity.HIGH: "error", Severity.MEDIUM: "warning", Severity.LOW: "note"}
    for rule, control in zip(rules, CATALOGUE, strict=True):
        assert rule["defaultConfiguration"]["level"] == levels[control.severity]
        assert control.remediation in rule["help"]["text"]
        assert control.remediation in rule["help"]["markdown"]
        assert 0 < float(rule["properties"]["security-severity"]) <= 10


def test_sarif_fingerprints_are_of_the_host_and_the_control_alone() -> None:
    def prints(report: Report) -> dict[tuple[str, str], Any]:
        found = sarif(report)["results"]
        return {(r["properties"]["host"], r["ruleId"]): r["partialFingerprints"] for r in found}

    report = CASES["every status"]
    moved = replace(report, generated="2027-01-01T00:00:00Z", policy_lines={}, hosts=report.hosts[::-1])
    assert prints(report) == prints(moved) != {}


@pytest.mark.parametrize(
    ("path", "folder", "uri", "relative"),
    [
        ("hostguard.yml", "/srv/r", "hostguard.yml", True),
        ("./a/../hostguard.yml", "/srv/r", "hostguard.yml", True),
        ("/srv/r/policies/a b.yml", "/srv/r", "policies/a%20b.yml", True),
        ("../other/p.yml", "/srv/r", "file:///srv/other/p.yml", False),
        ("/etc/hostguard/policy.yml", "/srv/r", "file:///etc/hostguard/policy.yml", False),
        ("/srv/repository/p.yml", "/srv/r", "file:///srv/repository/p.yml", False),
        ("hostguard.yml", "", "hostguard.yml", True),
    ],
)
def test_sarif_names_the_policy_as_code_scanning_wants_it(path: str, folder: str, uri: str, relative: bool) -> None:
    assert artifact(path, folder) == ({"uri": uri, "uriBaseId": "%SRCROOT%"} if relative else {"uri": uri})


def test_sarif_points_at_the_line_that_asks() -> None:
    example = ROOT / "examples" / "hostguard.yml"
    loaded = load.load(example, [("group_vars", {"platform": {"fips": "required"}})])
    lines = example.read_text(encoding="utf-8").splitlines()
    report = replace(EMPTY, policy_lines=loaded.lines)
    starts = {control.id: lines[line_of(control, report) - 1].split(":")[0] for control in CATALOGUE}
    assert starts["platform.aes"] == "  aes"
    assert starts["platform.kernel"] == "  kernel_min"
    assert starts["platform.clock-sync"] == "  clock_sync"
    assert starts["platform.cpus"] == "platform"
    assert starts["egress.output"] == "egress"
    assert starts["kernel.somaxconn"] == "kernel"
    assert line_of(CATALOGUE[0], replace(EMPTY, policy_lines={})) == 1


# Markdown

PARSER = MarkdownIt("gfm-like", {"html": True, "linkify": False})
TAGS = ("sub", "code", "details", "summary")
BREAK = "<br>"


def tokens(text: str) -> Iterator[Token]:
    for token in PARSER.parse(text):
        yield token
        yield from token.children or ()


def raw_html(text: str) -> list[str]:
    """What is passed through as HTML, taken apart into tags and comments."""
    found = "".join(token.content + "\n" for token in tokens(text) if token.type in ("html_inline", "html_block"))
    return re.findall(r"<[^>]*>", found)


@cases
def test_markdown_lets_nothing_out(report: Report) -> None:
    text = said("markdown", report)
    assert len(text) < markdown.LONGEST
    kinds = {token.type for token in tokens(text)}
    assert not kinds & {"link_open", "image", "fence", "code_block", "blockquote_open", "hr"}
    headings = [token for token in tokens(text) if token.type == "heading_open"]
    assert [token.tag for token in headings] == ["h3"]
    allowed = {f"<{slash}{tag}>" for slash in ("", "/") for tag in TAGS} | {"<!-- -->", BREAK}
    assert set(raw_html(text)) <= allowed
    opened = Counter(raw_html(text))
    assert all(opened[f"<{tag}>"] == opened[f"</{tag}>"] for tag in TAGS)


def test_markdown_shows_what_is_wrong() -> None:
    text = said("markdown", CASES["every status"])
    assert text.startswith("### hostguard: 2 fail, 1 unknown on 2 hosts\n")
    rows = [token for token in PARSER.parse(text) if token.type == "tr_open"]
    assert len(rows) == 1 + 3 + 1 + 2
    assert text.index("platform.kernel") < text.index("platform.fips") < text.index("platform.openssl`")
    assert "Upgrade the distribution's kernel" in text
    assert "waived until 2027-01-31" in text


def test_markdown_folds_what_is_known_below_what_is_new() -> None:
    text = said("markdown", CASES["compared"])
    assert text.startswith("### hostguard: 4 fail, 3 of them new, 2 unknown on 2 hosts\n")
    shown, _, folded = text.partition("<details><summary>1 failed in the baseline already</summary>")
    assert "| ▫️ known | <code>bar1</code> | `platform.aes` |" in folded
    assert "▫️" not in shown
    assert shown.count("| ❌ fail |") == 3


def test_markdown_shows_what_changed() -> None:
    text = said("markdown", CASES["drifted"])
    (row,) = (line for line in text.splitlines() if line.startswith("| ❌ fail | <code>bar1</code> | `platform.aes`"))
    assert cells(f"| x | {row.rpartition(' | ')[2]}")[1] == (
        "net.core.somaxconn: live is 128 · since: 2026-11-23T17:00:00Z · by: /etc/sysctl.d/zzz.conf:1 (jane's)"
        "net.core.somaxconn: live is 128 · since: not known · by: not known"
    )
    assert "<sub>Against the last apply of each host, " in text


def cells(row: str) -> list[str]:
    """What a reader sees in a row's cells."""
    table = "| a | b |\n|---|---|\n" + row + "\n"
    inner = [token for token in PARSER.parse(table) if token.type == "inline"][2:]
    return ["".join(t.content for t in token.children or () if t.type != "html_inline") for token in inner]


@settings(max_examples=300)
@given(st.text(st.characters(), min_size=1, max_size=60) | st.text("|\\`<>&*_[]()!#@~-+ w.:h\n", min_size=1))
def test_markdown_keeps_any_text_in_its_cell(text: str) -> None:
    clean = " ".join(visible(text, "\n\t").split())
    assert cells(markdown._row(markdown.code(clean), markdown.prose(clean))) == [clean, clean]


def standing_for(text: str) -> int:
    """How many results the rows of what is wrong stand for."""
    found = re.findall(r"^\| (?:❌|❔)[^|]*\| (?:\*\*(\d+) hosts|([^|]*))", text, re.MULTILINE)
    return sum(int(count) if count else names.count(",") + 1 for count, names in found)


def wrong_without_the_silent(report: Report) -> int:
    unseen = sum(set(host.count().items()) >= {("pass", 0), ("fail", 0)} for host in report.hosts)
    count = report.count()
    return count["fail"] + count["unknown"] - unseen * (len(CATALOGUE) - 1)


def each_its_own(report: Report) -> Report:
    """No two hosts are alike: each saw another value."""
    hosts = tuple(
        HostReport(host.host, tuple(replace(r, actual=f"{r.actual} {number}") for r in host.results))
        for number, host in enumerate(report.hosts)
    )
    return replace(report, hosts=hosts)


def test_markdown_of_a_large_fleet_says_how_many_more_there_are() -> None:
    report = each_its_own(reports.fleet(1000))
    text = said("markdown", report)
    assert len(text) < markdown.LONGEST
    left = int(re.search(r"… and (\d+) more that fail or are unknown", text)[1])  # type: ignore[index]
    assert standing_for(text) + left == wrong_without_the_silent(report)


def test_markdown_of_a_large_fleet_shows_hosts_that_are_alike_once() -> None:
    report = reports.fleet(1000)
    text = said("markdown", report)
    assert "more that fail" not in text
    assert standing_for(text) == wrong_without_the_silent(report)
    alike = reports.report(*(reports.host(f"web{n}", ["fail", "pass", "fail"]) for n in range(200)))
    text = said("markdown", alike)
    assert text.count("| **200 hosts**: <code>web0, web1, web2 and 197 more</code> |") == 2
    (names,) = re.findall(r"^- \*\*200 hosts\*\* \(`[^`]*`, `[^`]*`\): <code>(.*)</code>$", text, re.MULTILINE)
    assert names.split(", ") == [host.host for host in alike.hosts]


def test_markdown_names_every_host_that_was_not_seen_or_has_a_waiver() -> None:
    unseen = [reports.host(f"dead{n}", ["unknown"] * len(CATALOGUE)) for n in range(9)]
    held = [reports.host(f"held{n}", ["waived"]) for n in range(9)]
    text = said("markdown", reports.report(*unseen, *held))
    assert "- ❔ unknown **9 hosts**: <code>dead0, dead1, dead2 and 6 more</code>: <code>no right to</code>" in text
    for what, hosts in (("<code>no right to</code>", unseen), ("`platform.aes`", held)):
        assert f"- **9 hosts** ({what}): <code>{', '.join(host.host for host in hosts)}</code>" in text


def test_markdown_has_room_for_the_worst() -> None:
    long = "x" + "*" * 500
    hosts = tuple(
        HostReport(long + str(n), tuple(reports.result(c, s, long) for c, s in zip(CATALOGUE, STATUSES, strict=False)))
        for n in range(200)
    )
    assert len(said("markdown", reports.report(*hosts, warnings=(long,) * 100))) < markdown.LONGEST


# Prometheus


@cases
def test_prometheus_as_its_own_client_reads_it(report: Report) -> None:
    families = {family.name: family for family in text_string_to_metric_families(said("prometheus", report))}
    assert all(family.type == "gauge" and family.documentation for family in families.values())
    controls = families["hostguard_control"].samples
    assert len(controls) == pairs(report)
    assert {tuple(sample.labels) for sample in controls} == {("host", "control", "area", "severity", "status")}
    counts = families["hostguard_controls"].samples
    assert len(counts) == len(report.hosts) * len(STATUSES)
    assert sum(sample.value for sample in counts) == pairs(report)
    assert {sample.value for sample in families["hostguard_audit_timestamp_seconds"].samples} == {1795456800}
    policies = families["hostguard_policy_info"].samples if report.policy_path else []
    assert [sample.labels["sha256"] for sample in policies] == [report.policy_sha256][: len(report.policy_path)]
    waivers = families.get("hostguard_waiver_expiry_timestamp_seconds")
    assert len(waivers.samples if waivers else ()) >= report.count()["waived"]


def test_prometheus_counts_a_waiver_to_the_end_of_its_last_day() -> None:
    text = said("prometheus", CASES["every status"])
    wanted = 'hostguard_waiver_expiry_timestamp_seconds{host="bar1",control="platform.openssl-running"} 1801440000\n'
    assert wanted in text  # date -u -d 2027-02-01 +%s


@pytest.mark.needs("prometheus")
@cases
def test_prometheus_as_promtool_checks_it(report: Report) -> None:
    def check(text: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(PROMTOOL), "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )

    good = said("prometheus", report)
    done = check(good)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    assert check(good + "hostguard_controls{").returncode != 0


# Journal

LINE_MAX = 48 * 1024  # journald cuts a longer line in two (LineMax= of journald.conf)


def journal(report: Report) -> list[tuple[int, dict[str, str]]]:
    """Each line's priority, and its pairs as the shell's own quoting has them."""
    lines = said("journal", report).removesuffix("\n").split("\n")
    parts = [re.fullmatch(r"<(\d)>([^<].*)", line) for line in lines]
    assert all(parts), "a line without a priority"
    return [
        (int(part[1]), dict(word.split("=", 1) for word in shlex.split(part[2]))) for part in parts if part is not None
    ]


@cases
def test_journal_has_a_line_for_each_that_does_not_hold_and_one_for_all(report: Report) -> None:
    *lines, (priority, summary) = journal(report)
    count = report.count()
    assert (priority, summary["hosts"]) == (6, str(len(report.hosts)))
    assert {status: int(summary[status]) for status in STATUSES} == count
    assert len(lines) == count["fail"] + count["unknown"]
    assert {tuple(pairs) for _, pairs in lines} == {("host", "control", "status", "severity", "seen", "expected")}
    assert all({"high": 3, "medium": 4, "low": 5}[pairs["severity"]] == priority for priority, pairs in lines)
    found = Counter((pairs["control"], pairs["status"]) for _, pairs in lines)
    wrong = [r for host in report.hosts for r in host.results if r.status in ("fail", "unknown")]
    assert found == Counter((result.control.id, result.status) for result in wrong)


def test_journal_says_what_was_seen_and_what_was_expected() -> None:
    wanted = '<3>host="bar1" control=platform.kernel status=fail severity=high seen="128" expected="≥ 65535"\n'
    assert wanted in said("journal", CASES["every status"])


def test_journal_of_nothing_wrong_is_one_line() -> None:
    assert [priority for priority, _ in journal(reports.report(reports.host("a", [])))] == [6]


@settings(max_examples=300)
@given(st.text(st.characters(), min_size=1, max_size=60) | st.text("<3>\"\\=\n\r '$`#", min_size=1))
def test_journal_keeps_any_text_in_its_place(text: str) -> None:
    result = reports.result(CATALOGUE[0], "fail", text)
    (_, pairs), _ = journal(reports.report(HostReport(text, (result,))))
    assert pairs["seen"] == pairs["expected"] == " ".join(visible(text, "\n\t").split())
    assert pairs["host"] == " ".join(visible(text).split())


def test_journal_lines_are_never_cut_in_two() -> None:
    """The second half would be a line of its own, and its priority what the host had put there."""
    long = "\U0001f600" * LINE_MAX + "<0>"
    report = reports.report(HostReport(long, (reports.result(CATALOGUE[0], "fail", long),)))
    assert max(len(line.encode()) for line in said("journal", report).splitlines()) < LINE_MAX


# HTML


class Page(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.text += data


@cases
def test_html_is_of_our_own_elements_alone(report: Report) -> None:
    page = Page(said("html", report))
    assert not {"script", "img", "link", "iframe", "object", "form", "base"} & set(page.tags)
    assert page.tags["h1"] == page.tags["svg"] == page.tags["style"] == 1
    assert not {name for name in page.attributes if name.startswith("on") or name in ("style", "src")}
    assert all(link.startswith("#") for link in page.links)
    assert page.tags["details"] >= len(alike_in_all(report.hosts))
    assert all(" ".join(visible(host.host).split()) in " ".join(page.text.split()) for host in report.hosts)


def test_html_says_it_all() -> None:
    text = Page(said("html", CASES["every status"])).text
    for words in (
        "2 controls of the policy do not hold",
        "Upgrade the distribution's kernel",
        "the waiver ended on 2026-11-01 by ops@example.com",
        "moves to new hosts",
        "a waiver that nothing needs",
    ):
        assert words in text
    assert text.index(CATALOGUE[1].title) < text.index(CATALOGUE[0].title)


def test_html_verdicts() -> None:
    well = Page(said("html", reports.report(reports.host("a", []))))
    unseen = Page(said("html", reports.report(reports.host("a", ["unknown"] * len(CATALOGUE)))))
    assert "All is as the policy wants it" in well.text
    assert "Not all could be seen" in unseen.text
    assert "Hosts of which nothing could be seen" in unseen.text


def test_html_keeps_what_is_known_quiet_and_last() -> None:
    text = said("html", CASES["compared"])
    assert "4 controls of the policy do not hold, 3 of them new" in text
    assert "<title>hostguard audit: 4 fail, 3 of them new, 2 unknown</title>" in text
    kinds = re.findall(r'<details class="card finding (\w+)"', text)
    assert kinds == ["fail", "fail", "fail", "unknown", "known"]


def test_html_shows_what_changed() -> None:
    text = Page(said("html", CASES["drifted"])).text
    # In the finding, and in the host's table.
    assert text.count("net.core.somaxconn: live is 128 · since: not known · by: not known") == 2
    assert "2 controls do not hold" in text
    assert "the last apply of each host" in text
    assert "SHA-256" not in text


def test_html_holds_apart_what_changed_by_other_means() -> None:
    first = CASES["drifted"].hosts[0]
    other = tuple(replace(each, drift=each.drift[1:]) for each in first.results)
    found = findings(replace(CASES["drifted"], hosts=(first, HostReport("bar3", other))))
    hosts = {finding.control.id: [each.hosts for each in finding.seen] for finding in found}
    assert hosts == {"platform.kernel": [("bar1", "bar3")], "platform.aes": [("bar1",), ("bar3",)]}


def test_html_shows_hosts_that_are_alike_once_and_keeps_what_else_was_seen_of_each() -> None:
    hosts = [reports.host(f"web{n}", ["fail", "pass", "fail"]) for n in range(200)]
    other = tuple(replace(r, actual="6.1.0-42") if r.status == "pass" else r for r in hosts[7].results)
    text = said("html", reports.report(*hosts[:7], HostReport("web7", other), *hosts[8:]))
    page = Page(text)
    assert page.text.count("200 hosts alike, counted once") == 1
    assert "200 of 200 hosts need attention" in page.text
    assert page.tags["tr"] < 3 * Page(said("html", reports.report(hosts[0]))).tags["tr"]
    assert page.text.count("6.1.0-42") == sum(r.status == "pass" for r in other), "once each, and with its host"
    alone = re.findall(r'<span class="aside">web7</span></th>\s*<td>≥ 65535</td><td>6.1.0-42</td>', text)
    assert len(alone) == page.text.count("6.1.0-42")


def test_hosts_on_which_something_else_is_wrong_are_not_alike() -> None:
    first, second = reports.host("a", ["fail", "pass"]), reports.host("b", ["fail", "waived"])
    third = HostReport("c", (replace(first.results[0], actual="another value"), *first.results[1:]))
    fourth = HostReport(
        "d", (*first.results[:1], replace(first.results[1], actual="another value"), *first.results[2:])
    )
    found = alike_in_all([first, second, third, fourth])
    assert [[host.host for host in group] for group in found] == [["a", "d"], ["b"], ["c"]]


def test_every_part_of_the_bar_can_be_seen() -> None:
    parts = segments({"pass": 99_999, "fail": 1, "unknown": 0, "waived": 0, "not_applicable": 0}, FIRST)
    assert [status for status, _, _ in parts] == ["fail", "pass"]
    assert parts[0][2] > 0.5
    assert sum(wide for _, _, wide in parts) == pytest.approx(100)
