"""The catalogue as documentation: complete, fresh, and with no reference to what does not exist."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hostguard import generated
from hostguard.catalogue import page, text
from hostguard.catalogue.entries import Entry, entries, of_policy
from hostguard.catalogue.how_to import HOW_TO
from hostguard.catalogue.standards import ASKS
from hostguard.control import (
    ARTICLE,
    CIS_CONTROLS,
    CIS_DEBIAN,
    MANUAL,
    NIST,
    PCI,
    SOC2,
    Control,
    JudgingControl,
    Reference,
    WantingControl,
)
from hostguard.controls import CATALOGUE
from hostguard.host.kinds import KINDS

IDS = [control.id for control in CATALOGUE]
ENTRIES = {entry.control.id: entry for entry in entries()}


def numbered(counts: dict[str, int], dot: str = ".") -> set[str]:
    return {f"{head}{dot}{number}" for head, count in counts.items() for number in range(1, count + 1)}


# How many requirements each section has, counted in the standards themselves.
PCI_REQUIREMENTS = numbered(
    {"1.1": 2, "1.2": 8, "1.3": 3, "1.4": 5, "1.5": 1, "2.1": 2, "2.2": 7, "2.3": 2, "3.1": 2, "3.2": 1, "3.3": 3,
     "3.4": 2, "3.5": 1, "3.6": 1, "3.7": 9, "4.1": 2, "4.2": 2, "5.1": 2, "5.2": 3, "5.3": 5, "5.4": 1, "6.1": 2,
     "6.2": 4, "6.3": 3, "6.4": 3, "6.5": 6, "7.1": 2, "7.2": 6, "7.3": 3, "8.1": 2, "8.2": 8, "8.3": 11, "8.4": 3,
     "8.5": 1, "8.6": 3, "9.1": 2, "9.2": 4, "9.3": 4, "9.4": 7, "9.5": 1, "10.1": 2, "10.2": 2, "10.3": 4, "10.4": 3,
     "10.5": 1, "10.6": 3, "10.7": 3, "11.1": 2, "11.2": 2, "11.3": 2, "11.4": 7, "11.5": 2, "11.6": 1, "12.1": 4,
     "12.2": 1, "12.3": 4, "12.4": 2, "12.5": 3, "12.6": 3, "12.7": 1, "12.8": 5, "12.9": 2, "12.10": 7,
     "3.3.1": 3, "3.5.1": 3, "3.6.1": 4, "4.2.1": 2, "5.2.3": 1, "5.3.2": 1, "6.2.3": 1, "7.2.5": 1, "8.3.10": 1,
     "9.2.1": 1, "9.3.1": 1, "9.4.1": 2, "9.4.5": 1, "9.5.1": 3, "9.5.1.2": 1, "10.2.1": 7, "10.4.1": 1, "10.4.2": 1,
     "11.3.1": 3, "11.3.2": 1, "11.5.1": 1, "12.4.2": 1, "12.5.2": 1, "12.6.3": 2, "12.10.4": 1}
)  # fmt: skip
TRUST_CRITERIA = numbered(
    {
        "CC1": 5,
        "CC2": 3,
        "CC3": 4,
        "CC4": 2,
        "CC5": 3,
        "CC6": 8,
        "CC7": 5,
        "CC8": 1,
        "CC9": 2,
        "A1": 3,
        "C1": 2,
        "PI1": 5,
    }
)
SAFEGUARDS = numbered(
    {"1": 5, "2": 7, "3": 14, "4": 12, "5": 6, "6": 8, "7": 7, "8": 12, "9": 7, "10": 7, "11": 5, "12": 8, "13": 11,
     "14": 9, "15": 7, "16": 14, "17": 9, "18": 5}
)  # fmt: skip
# Of the Debian benchmark the chapters on network parameters and the host firewall.
RECOMMENDATIONS = numbered({"3.3": 11, "4.1": 1, "4.2": 7, "4.3": 10, "4.4.1": 3, "4.4.2": 4, "4.4.3": 4})
# Of NIST the families that are cited, and of the enhancements those of cited controls; less what rev 5 has withdrawn.
NIST_CONTROLS = (
    numbered({"AC": 25, "CM": 14, "IA": 13, "SC": 51, "SI": 23}, "-")
    | {f"{each})" for each in numbered({"CM-6": 2, "IA-5": 18, "SC-5": 3, "SC-7": 29}, "(")}
) - {
    "AC-13",
    "AC-15",
    "SC-9",
    "SC-14",
    "SC-33",
    "SI-9",
    "IA-5(3)",
    "IA-5(4)",
    "IA-5(11)",
    "SC-7(1)",
    "SC-7(2)",
    "SC-7(6)",
}
ARTICLE_SECTIONS = {
    "Introduction",  # what stands before its first heading
    "Parameters",  # the table there
    "Environment Prerequisites",
    "Implementation Logic",
    "Step 1: Egress Filtering and Firewall Hardening",
    "Step 2: Automated Secret Injection and Rotation",
    "Step 3: Configuring the Egress Proxy and Circuit Breaker",
    "Step 4: Observability and Health Inspection",
    "Dependency Fault Lines",
    "Troubleshooting Matrix",
    "Optimization And Hardening",
    "Admin Desk",
}
EXIST = {
    ARTICLE: ARTICLE_SECTIONS,
    PCI: PCI_REQUIREMENTS,
    SOC2: TRUST_CRITERIA,
    CIS_DEBIAN: RECOMMENDATIONS,
    CIS_CONTROLS: SAFEGUARDS,
    NIST: NIST_CONTROLS,
}


def test_the_counts_are_those_that_are_published() -> None:
    # The appendices aside; 153 safeguards and 33 common criteria are what their publishers say of themselves.
    assert len(SAFEGUARDS) == 153
    assert sum(criterion.startswith("CC") for criterion in TRUST_CRITERIA) == 33


@pytest.mark.parametrize("control", CATALOGUE, ids=IDS)
def test_references_are_to_what_exists_and_what_it_asks_is_told(control: Control) -> None:
    assert len(set(map(str, control.references))) == len(control.references)
    for reference in control.references:
        if reference.source == MANUAL:
            assert re.fullmatch(r"[\w.-]+\(\d\).*|Documentation/\S+", reference.section)
        else:
            assert reference.section in EXIST[reference.source], reference
            assert reference.section in ASKS[reference.source], reference


@pytest.mark.parametrize("control", CATALOGUE, ids=IDS)
def test_the_article_asks_for_it_or_it_is_said_why_not(control: Control) -> None:
    assert any(reference.source == ARTICLE for reference in control.references) != bool(control.beyond_article)


def test_no_requirement_is_told_that_nothing_answers() -> None:
    answered = {(r.source, r.section) for control in CATALOGUE for r in control.references if r.source != MANUAL}
    assert {(source, section) for source, sections in ASKS.items() for section in sections} == answered


def test_a_requirement_that_does_not_exist_is_seen() -> None:
    assert {"1.3.4", "6.3", "8.6.4", "10.2.1.8"} & PCI_REQUIREMENTS == set()
    assert {"SC-7(6)", "SC-52", "AC-0"} & NIST_CONTROLS == set()


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_what_wants_is_read_reached_and_undone_and_what_judges_has_no_fix(entry: Entry) -> None:
    assert entry.fixed_by_apply == isinstance(entry.control, WantingControl)
    assert entry.read
    assert entry.reach
    assert entry.undo
    if isinstance(entry.control, JudgingControl):
        assert entry.read == (entry.control.evidence,)


def test_every_kind_has_its_words() -> None:
    assert set(HOW_TO) == set(KINDS)


def test_the_kinds_of_a_control_are_the_same_under_other_policies() -> None:
    example = yaml.safe_load(page.EXAMPLE.read_text(encoding="utf-8"))
    observing: dict[str, Any] = {**example, "egress": {**example["egress"], "mode": "observe", "containers": "same"}}
    for policy in (example, observing):
        for control, resources in of_policy(policy).items():
            assert {resource["kind"] for resource in resources} <= set(ENTRIES[control].kinds), control


def test_the_page_is_fresh() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "run `python -m hostguard.catalogue.page`"


def test_check_names_a_stale_file_and_leaves_it(tmp_path: Any, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(generated, "ROOT", tmp_path)
    file = tmp_path / "page.md"
    file.write_text("old")
    assert generated.keep({file: "new"}, ["--check"]) == 1
    assert (capsys.readouterr().out, file.read_text()) == ("page.md\n", "old")
    assert generated.keep({file: "new"}, []) == 0
    assert file.read_text() == "new"
    assert generated.keep({file: "new"}, ["--check"]) == 0


@functools.cache
def tokens() -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.page())


def inline(kind: str) -> list[Token]:
    return [child for token in tokens() for child in token.children or [] if child.type == kind]


@functools.cache
def shown() -> str:
    """The page's text as a reader sees it."""
    words = [
        "".join(" " if c.type == "softbreak" else c.content for c in token.children or [] if c.type != "html_inline")
        for token in tokens()
        if token.type == "inline"
    ]
    return "\n".join(words)


def test_anchors_are_there_once_and_every_link_leads_somewhere() -> None:
    anchors = Counter(re.findall(r'<a id="([^"]+)">', " ".join(token.content for token in inline("html_inline"))))
    assert set(anchors) == {*IDS, "requirements"}
    assert set(anchors.values()) == {1}
    links = {str(token.attrs["href"]) for token in inline("link_open")}
    assert {link[1:] for link in links if link.startswith("#")} == set(anchors)
    for link in links:
        if not link.startswith("#"):
            assert (page.PAGE.parent / link).exists(), link


@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_the_page_shows_each_text_as_it_is(entry: Entry) -> None:
    control, seen = entry.control, shown()
    texts = [control.rationale, control.remediation, *entry.read, *entry.reach, *entry.undo, control.beyond_article]
    for words in texts + [reference.fits for reference in control.references]:
        assert words.replace("`", "") in seen


def test_tables_have_the_cells_of_their_head() -> None:
    rows: list[int] = []
    heads = 0
    for token in tokens():
        if token.type == "thead_open":
            rows = []
        if token.type == "tr_open":
            rows.append(0)
        if token.type in ("th_open", "td_open"):
            rows[-1] += 1
        if token.type == "table_close":
            heads += 1
            assert len(set(rows)) == 1
    assert heads == len({control.area for control in CATALOGUE}) + len(CATALOGUE) + len(ASKS)


@pytest.mark.parametrize("letters", ["a*b*c", "_x_", "[a](b)", "<b>", "# a", "`*` and *", "a | b", "back\\slash"])
def test_what_markdown_would_take_for_itself_is_shown(letters: str) -> None:
    (token,) = [t for t in MarkdownIt("commonmark").parse(page.plain(letters)) if t.type == "inline"]
    assert "".join(child.content for child in token.children or []) == letters.replace("`", "")


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)
def test_explained_within_the_terminal_and_in_full(entry: Entry, width: int) -> None:
    said = text.render(entry, width)
    control = entry.control
    longest_word = max(map(len, said.split()))
    for line in said.splitlines():
        assert len(line) <= max(width, text.HEAD + text.LEAST_BODY, text.HEAD + 2 + longest_word)
        assert line == line.rstrip()
    flat = " ".join(said.split())
    asked = [f"{reference} " for reference in control.references[:-1]]
    for words in [control.title, control.rationale, control.remediation, *entry.read, *entry.undo, *asked]:
        assert " ".join(words.split()) in flat


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hostguard", *arguments], capture_output=True, text=True, check=False)


def test_explain_on_the_command_line() -> None:
    done = run("explain", "kernel.somaxconn")
    assert done.returncode == 0
    assert done.stdout.startswith("kernel.somaxconn\n")
    near = run("explain", "kernel.somaxcon")
    assert (near.returncode, near.stdout) == (2, "")
    assert "kernel.somaxconn" in near.stderr


def test_checks_as_json_has_every_control_and_its_references() -> None:
    done = json.loads(run("checks", "--format", "json").stdout)
    assert done["schema"] == "hostguard.checks/1"
    assert [control["id"] for control in done["controls"]] == IDS
    for said, control in zip(done["controls"], CATALOGUE, strict=True):
        assert said["references"] == [str(reference) for reference in control.references]
        assert set(said["fits"]) <= set(said["references"])


def test_checks_of_one_area() -> None:
    listed = run("checks", "--area", "secrets").stdout.splitlines()[1:]
    assert [line.split()[0] for line in listed] == [each for each in IDS if each.startswith("secrets.")]
    wrong = run("checks", "--area", "secret")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "expected one of platform, egress" in wrong.stderr
    assert run("checks", "--format", "yaml").returncode == 2


def test_a_reference_is_source_and_section() -> None:
    assert str(Reference("PCI DSS 4.0.1", "1.3.2", "why")) == "PCI DSS 4.0.1: 1.3.2"
