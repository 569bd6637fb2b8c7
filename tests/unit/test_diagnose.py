"""The diagnosis: how rules are found, what one look becomes, and how it is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from hostguard.diagnose import diagnosis, page, shown
from hostguard.diagnose.diagnosis import Diagnosis, HostDiagnosis
from hostguard.diagnose.rule import Finding, Rule, Unread
from hostguard.diagnose.rules import RULES
from hostguard.host.evidence import COLLECTORS
from hostguard.policy.document import dotted
from hostguard.seen import Seen
from hostguard.shape import fit
from tests.unit.diagnosed import EXAMPLES, asked, diagnosed

ROOT = Path(__file__).parents[2]
FAULT = Finding(subject="payments", seen="s", where="w", means="m", mend="n", key=("egress", "providers", "payments"))
RULE = Rule(id="a-fault", title="A fault", symptoms=("EFAULT",), article="", by_hand="", means="", mend="",
            looks_at="it", asks=lambda _: {"all": {"collect": "uname"}}, judges=lambda _, __: [FAULT])  # fmt: skip
UNAME = {"all": ["Linux", "web1", "6.1", "1", "x86_64"]}


def run(*arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-m", "hostguard", "diagnose", "-p", str(EXAMPLES / "hostguard.yml"), *arguments]
    return subprocess.run(call, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def told(host: HostDiagnosis, width: int = 80) -> str:
    return shown.table(Diagnosis("", asked(), (host,)), width=width)


def test_each_file_of_the_folder_is_a_rule_and_has_its_name() -> None:
    folder = ROOT / "hostguard" / "diagnose" / "rules"
    assert {rule.id.replace("-", "_") for rule in RULES} == {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_rules_are_found_in_an_archive_too(tmp_path: Path) -> None:
    archive = tmp_path / "hostguard.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (ROOT / "hostguard").rglob("*"):
            if path.suffix != ".pyc":
                packed.write(path, path.relative_to(ROOT))
    look = "from hostguard.diagnose import rules; print(*(rule.id for rule in rules.RULES))"
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(archive)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [rule.id for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
@pytest.mark.parametrize("policy", sorted(path.name for path in EXAMPLES.glob("*.yml")))
def test_a_rule_asks_collectors_that_a_host_has_whatever_the_policy(rule: Rule, policy: str) -> None:
    requests = rule.asks(asked(policy))
    if isinstance(requests, str):
        assert requests
    else:
        assert requests
        assert {request["collect"] for request in requests.values()} <= set(COLLECTORS)
        assert json.loads(json.dumps(requests)) == requests


@pytest.mark.parametrize("rule", RULES, ids=[rule.id for rule in RULES])
def test_a_rule_says_all_that_its_page_needs(rule: Rule) -> None:
    assert all((rule.title, rule.symptoms, rule.by_hand, rule.means, rule.mend, rule.looks_at))


def test_the_page_is_fresh() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run `python -m hostguard.diagnose.page`"


def test_the_page_leads_from_each_symptom_to_its_fault() -> None:
    text = page.page()
    for rule in RULES:
        assert f'<a id="{rule.id}"></a>' in text
        for symptom in rule.symptoms:
            assert any(f"`{symptom}`" in line and f"(#{rule.id})" in line for line in text.splitlines()), symptom


def test_each_alert_that_sends_to_diagnose_leads_to_a_fault() -> None:
    told: dict[str, str] = {}
    for path in sorted((EXAMPLES.parent / "monitoring").glob("*alerts.yml")):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            told |= {rule["alert"]: str(rule["annotations"]) for rule in group["rules"] if "alert" in rule}
    sent = {name for name, words in told.items() if "hostguard diagnose" in words}
    symptoms = {symptom for rule in RULES for symptom in rule.symptoms if symptom.startswith("Hostguard")}
    assert sent
    assert sent <= symptoms <= set(told)


def test_the_same_question_of_two_rules_is_asked_once() -> None:
    other = replace(RULE, id="other")
    compiled = diagnosis.compiler(asked(), [RULE, other])(asked().loaded)
    assert len(compiled.bundle()["evidence"]) == 1


def test_what_could_not_be_read_is_said_and_is_no_finding() -> None:
    found = diagnosed(RULE, asked(), {"all": OSError("no")})
    assert (found.findings, found.unread, found.looked) == ((), (("a-fault", "no"),), ())
    assert Diagnosis("", asked(), (found,)).exit() == 3


@pytest.mark.parametrize("said", [None, 7, [], ["Linux"], {"x": 1}])
def test_an_answer_that_makes_no_sense_was_not_read(said: Any) -> None:
    found = diagnosed(RULE, asked(), {"all": said})
    assert found.findings == ()
    assert "makes no sense" in found.unread[0][1]


def test_a_rule_that_fails_on_an_odd_answer_hides_no_other() -> None:
    broken = replace(RULE, judges=lambda _, said: said["other"])
    seen = Seen((), {}, {f"diagnose/{json.dumps({'collect': 'uname'})}": {"said": UNAME["all"]}})
    found = diagnosis.judge(asked(), "web1", asked().loaded, seen, [broken, RULE])
    assert [each for _, each in found.findings] == [FAULT]
    assert "can't be judged" in found.unread[0][1]


def test_one_thing_that_a_rule_could_not_see_keeps_what_it_saw() -> None:
    found = diagnosed(replace(RULE, judges=lambda _, __: [Unread("half of it"), FAULT]), asked(), UNAME)
    assert found.unread == (("a-fault", "half of it"),)
    assert len(found.findings) == 1
    assert Diagnosis("", asked(), (found,)).exit() == 1


@pytest.mark.parametrize(("concerns", "count"), [((), 1), (("payments",), 1), (("vault",), 0), (("x", "payments"), 1)])
def test_a_word_narrows_to_what_it_concerns_and_the_whole_host(concerns: tuple[str, ...], count: int) -> None:
    rule = replace(RULE, judges=lambda _, __: [replace(FAULT, concerns=concerns)])
    assert len(diagnosed(rule, asked(only="payments"), UNAME).findings) == count


def test_a_rule_with_nothing_to_ask_is_left_out_and_that_is_well() -> None:
    found = diagnosed(replace(RULE, asks=lambda _: "--no-probe: not known"), asked(), {})
    assert found.left_out == (("a-fault", "--no-probe: not known"),)
    assert Diagnosis("", asked(), (found,)).exit() == 0
    assert "--no-probe: not known" in told(found)


def test_a_host_that_was_not_reached_is_told_and_never_well() -> None:
    found = diagnosis.judge(asked(), "web1", asked().loaded, "no route")
    assert Diagnosis("", asked(), (found,)).exit() == 3
    assert told(found) == "web1: not seen: no route\n"


def test_with_nothing_found_it_says_what_it_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shown.TITLES, RULE.id, RULE.title)
    found = diagnosed(replace(RULE, judges=lambda _, __: []), asked(), UNAME)
    assert told(found) == "web1: nothing is found\n\n  looked at:\n    a-fault: it\n"


def test_a_finding_fits_a_terminal_and_names_the_policy_s_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(shown.TITLES, RULE.id, RULE.title)
    long = replace(FAULT, seen="word " * 40, unsure="the clock is off\x1b[2J")
    text = told(diagnosed(replace(RULE, judges=lambda _, __: [long]), asked(), UNAME))
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    lines = enumerate((EXAMPLES / "hostguard.yml").read_text().splitlines(), 1)
    line = next(number for number, text in lines if text.startswith("    payments:"))
    assert f"key   {dotted(FAULT.key)} (line {line})" in text
    found = shown.plain(Diagnosis("", asked(), (diagnosed(RULE, asked(), UNAME),)))
    (plain,) = found["hosts"][0]["findings"]
    assert (plain["rule"], plain["sure"]) == ("a-fault", "seen")
    assert plain["key"] == {"path": "egress.providers.payments", "line": line}
    fit(shown.DiagnosisSaid, json.loads(json.dumps(found)))


@pytest.mark.parametrize(("word", "hint"), [
    ("paymnts", "did you mean payments?"),
    ("envoi", "did you mean envoy?"),
    ("zzz", "it has payments, vault, envoy.service"),
])  # fmt: skip
def test_a_word_that_the_policy_has_not_ends_it_before_a_host_is_asked(word: str, hint: str) -> None:
    done = run(word, "--host", "ssh://nowhere.invalid")
    assert done.returncode == 2
    assert f"{word}: no provider, service or unit of the policy: {hint}" in done.stderr


def test_a_unit_may_be_named_without_its_suffix() -> None:
    assert json.loads(run("envoy", "--format", "json").stdout)["about"] == "envoy.service"


def test_a_time_that_is_none_is_refused() -> None:
    done = run("--since", "yesterday")
    assert (done.returncode, "--since: found 'yesterday'" in done.stderr) == (2, True)
