"""The page of a fault rehearsal: it says what is wrong first, draws every fault, and nothing breaks out of it."""

from __future__ import annotations

import copy
import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from hostguard.rehearse.faults.result import Faults
from hostguard.report import faults as report
from hostguard.report import timeline
from tests.lab.process import call as run
from tests.programs import BROWSER
from tests.unit import a_rehearsal, reports
from tests.unit.a_rehearsal import call, fault, faults, mark, reached, untried, way
from tests.unit.test_report_in_a_browser import look
from tests.unit.test_reports import Page

ENOUGH = 80_000
"""Bytes of a fault, whatever number of calls it has."""


def test_what_is_wrong_comes_first_with_the_key_that_decides() -> None:
    text = Page(report.render(a_rehearsal.some())).text
    assert "2 of 8 faults come out otherwise than the policy’s numbers say" in text
    assert text.index("What is wrong") < text.index("What proved nothing") < text.index("All faults")
    wrong = text[text.index("What is wrong") : text.index("What proved nothing")]
    words = ("504 within 6 s", "the caller's own limit is 5 s", "timeouts.try: 2s", "line 30 of the policy")
    assert all(each in wrong for each in words)
    assert "503 twelve times" not in wrong


@pytest.mark.parametrize(
    ("verdicts", "words"),
    [
        (["held"], "The policy holds under every fault"),
        (["held", "not_tried"], "The policy holds under every fault that was tried"),
        (["held", "no_proof"], "Nothing is wrong, and not all is proved"),
        (["not_tried"], "No fault could be tried"),
        ([], "No fault could be tried"),
        (["wrong", "held"], "1 of 2 faults comes out otherwise than the policy’s numbers say"),
    ],
)
def test_verdicts(verdicts: list[Any], words: str) -> None:
    found = [a_rehearsal.hangs(verdict) for verdict in verdicts]
    assert re.findall("<h1>(.*)</h1>", report.render(faults(found))) == [words]


def test_all_ways_are_side_by_side_and_what_was_not_tried_says_why() -> None:
    text = report.render(faults([a_rehearsal.rotates()]))
    row = re.search(r"<tbody>\n<tr>(.*?)</tr>", text, re.DOTALL)
    assert row
    cells = [Page(cell).text for cell in re.findall(r"<t[dh].*?</t[dh]>", row[1])]
    assert cells[2:5] == ["6 × 401", "not tried: the article's cluster adds no key", "12 × 200, the old key 6 times"]


def test_all_ways_of_a_fault_have_one_scale_of_time() -> None:
    drawn = timeline.of(a_rehearsal.hangs())
    ends = [each.lanes[0].signs[0].end for each in drawn.courses]
    assert ends == [100.0, pytest.approx(100 * 10.002 / 12, abs=0.01), pytest.approx(100 * 6.003 / 12, abs=0.01)]
    assert drawn.ticks[0] == (0.0, "0")
    assert drawn.ticks[-1] == (100.0, "12")


def test_a_region_that_only_one_way_reached_has_a_lane_in_each() -> None:
    drawn = timeline.of(a_rehearsal.hangs())
    assert [[lane.label for lane in each.lanes] for each in drawn.courses] == [["calls", "region 1", "region 2"]] * 3


def test_calls_that_can_not_be_told_apart_are_drawn_once_with_their_number() -> None:
    lane = timeline.of(a_rehearsal.breaks()).courses[0].lanes[0]
    assert [(sign.kind, sign.label) for sign in lane.signs] == [("failed", "12× 503"), ("well", "200")]


def test_waits_are_drawn_and_the_tries_that_ended_them() -> None:
    direct, _, gateway = timeline.of(a_rehearsal.limited()).courses
    assert [dash.words for dash in direct.lanes[0].dashes] == ["told to wait for 1 s"]
    assert [(dash.words, dash.end) for dash in gateway.lanes[1].dashes] == [("1.23 s until the next try", 98.4)]


def test_keys_and_connections_without_a_request_have_signs_of_their_own() -> None:
    kinds = {sign.kind for sign in timeline.of(a_rehearsal.rotates()).courses[2].lanes[1].signs}
    assert kinds == {"new", "old"}
    bare = timeline.of(a_rehearsal.ended()).courses[0].lanes[1].signs
    assert [(sign.kind, sign.label) for sign in bare] == [("connection", "no request")]


def test_what_the_provider_does_marks_every_way_and_what_the_gateway_does_its_own() -> None:
    drawn = timeline.of(a_rehearsal.breaks() | {"marks": [mark(1, "revoked"), mark(2, "ejected")]})  # type: ignore[arg-type]
    assert [len(each.lines) for each in drawn.courses] == [1, 1, 2]


@pytest.mark.parametrize("times", [[0.0] * 9, [n / 10 for n in range(40)], [0.0, 38.0]])
def test_marks_do_not_lie_on_each_other(times: list[float]) -> None:
    drawn = timeline.of(fault("x", "x", *[way("", [call(38.0)], [])] * 3, marks=[mark(at, "ejected") for at in times]))
    ends: dict[float, float] = {}
    for each in sorted((each for each in drawn.events if each.room != "none"), key=lambda each: each.x):
        assert each.x >= ends.get(each.y, 0)
        ends[each.y] = each.x + (0 if each.left else 20)
    assert len(drawn.events) == len(times)


def test_a_call_that_is_cut_or_nothing_or_refused_is_not_shown_as_well() -> None:
    found = [call(0, 1, 200, whole=False), call(2, 1, None, error="reset"), call(4, 1, 429), call(6, 1, 503), call(8)]
    lane = timeline.of(fault("x", "x", *[way("", found, [])] * 3)).courses[0].lanes[0]
    assert [sign.kind for sign in lane.signs] == ["cut", "nothing", "refused", "failed", "well"]


def test_one_failure_among_thousands_is_seen_and_counted() -> None:
    found = [call(n / 1000, 0.2, 503 if n == 7000 else 200) for n in range(9000)]
    course = timeline.of(fault("x", "x", *[way("", found, [])] * 3)).courses[0]
    failed = [block for block in course.lanes[0].blocks if block.kind == "failed"]
    assert len(failed) == 1
    assert failed[0].tall >= timeline.THINNEST
    assert "8,999 × 200, 1 × 503" in course.alternative
    assert sum("1 × 503" in line for line in course.told) == 1


def test_every_picture_has_its_words() -> None:
    text = report.render(a_rehearsal.some())
    assert "The gateway: the application got 1 × 504, the slowest in 6 s; region 1 was reached 2 times" in text
    told = Page(text).text
    assert "application, 0.00 s: GET: timed out, in 12 s" in told
    assert "region 1, 0.00 s: POST with the new key over TLSv1.3, answered 401" in told
    assert re.findall(r"0\.02 s\s+ejected: [^\n]*30 s", told)[0].split() == [
        "0.02",
        "s",
        "ejected:",
        "region",
        "1",
        "is",
        "asked",
        "no",
        "more,",
        "for",
        "30",
        "s",
    ]


def crowded(number: int) -> Faults:
    """Faults with so many calls each, a third of which fail, each in its own words."""
    one = a_rehearsal.overload(number)
    for at, each in enumerate(one["gateway"]["calls"]):
        if at % 3 == 0:
            each["status"], each["error"] = None, f"reset {at}: {'x' * 500}"
    return faults([one] * 6)


def test_thousands_of_calls_make_no_large_page() -> None:
    few, many = len(report.render(crowded(500))), len(report.render(crowded(5000)))
    assert many < 1.2 * few
    assert many < 6 * ENOUGH


def test_many_different_calls_in_a_short_time_make_no_large_page() -> None:
    found = [call(n / 100, 0.002, 200 + n % 300, error=f"{n}") for n in range(1500)]
    tries = [reached(n / 100, 200 + n % 300) for n in range(1500)]
    one = fault("x", "x", *[way("", found, tries)] * 3)
    assert len(report.render(faults([one] * 6))) < 6 * 2 * ENOUGH


@pytest.mark.parametrize("hostile", reports.HOSTILE)
def test_nothing_breaks_out(hostile: str) -> None:
    page = Page(report.render(everywhere(hostile)))
    ours = Page(report.render(everywhere("word")))
    for each in (page, ours):
        del each.tags["wbr"]  # a key may be broken at its dots
    assert page.tags == ours.tags
    assert page.attributes == ours.attributes
    assert all(link.startswith("#") for link in page.links)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff\u202e\u2066\u200b]", page.text)


def everywhere(word: str) -> Faults:
    """This word wherever a text of others may stand."""
    found = copy.deepcopy(a_rehearsal.some())
    found["policy"] = {"path": word, "sha256": word}
    found["program"] = {"path": word, "version": word}
    found["not_rehearsed"] = [word]
    for each in found["faults"]:
        texts: Any = each
        texts |= dict.fromkeys(("id", "title", "provider", "expected", "actual", "key", "value"), word)
        for one in timeline.ways(each):
            one["summary"] = word
            one["not_tried"] = one["not_tried"] and word
            for sent in one["calls"]:
                sent["error"], sent["retry_after"], sent["method"] = word, word, word
            for seen in one["reached"]:
                seen["address"], seen["tls"], seen["method"] = word, word, seen["method"] and word
        for happened in each["marks"]:
            happened["words"] = word
    return found


class Outline(HTMLParser):
    """What a screen reader goes by."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.pointers: list[str] = []
        self.levels: list[int] = []
        self.nameless: list[str] = []
        self.heads: list[str | None] = []
        self.defs = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        self.ids += [value for name in ("id",) if (value := has.get(name))]
        self.pointers += [value.removeprefix("#") for n in ("href", "aria-labelledby") if (value := has.get(n))]
        self.pointers += re.findall(r"url\(#([\w-]+)\)", has.get("fill") or "")
        if re.fullmatch("h[1-6]", tag):
            self.levels.append(int(tag[1]))
        if tag == "svg" and not has.get("aria-hidden") and not (has.get("role") == "img" and has.get("aria-label")):
            self.nameless.append(str(attrs))
        if tag == "th":
            self.heads.append(has.get("scope"))


def test_a_screen_reader_finds_its_way() -> None:
    found = Outline(report.render(a_rehearsal.some()))
    assert len(found.ids) == len(set(found.ids))
    assert set(found.pointers) <= set(found.ids)
    assert found.levels[0] == 1
    assert all(after <= before + 1 for before, after in zip(found.levels, found.levels[1:], strict=False))
    assert not found.nameless
    assert set(found.heads) <= {"col", "row"}


@pytest.mark.needs("browser")
def test_the_page_asks_nothing_of_anybody(tmp_path: Path) -> None:
    text = report.render(everywhere(reports.HOSTILE[0]))
    dom, complaints, asked = look(tmp_path, text)
    assert not asked
    assert "Content Security Policy" not in complaints
    assert Page(dom).tags == Page(text).tags


MEASURE = """<script>
for (const each of document.querySelectorAll("details")) each.open = true;
const over = [];
for (const card of document.querySelectorAll(".card, header, .legend")) {
  const right = card.getBoundingClientRect().right + 1;
  for (const each of card.querySelectorAll("*")) {
    const box = each.getBoundingClientRect();
    if (box.width && box.right > right) over.push(each.tagName + ": " + each.textContent.trim());
  }
}
const laid = [];
for (const plot of document.querySelectorAll("svg.plot")) {
  const texts = [...plot.querySelectorAll("text")].map(each => [each.getBoundingClientRect(), each.textContent]);
  for (const [a, one] of texts) for (const [b, other] of texts) {
    const apart = a.right <= b.left + 1 || b.right <= a.left + 1 || a.bottom <= b.top + 3 || b.bottom <= a.top + 3;
    if (a.left < b.left && a.width && b.width && !apart) laid.push(one + " / " + other);
  }
}
const wide = document.documentElement.scrollWidth;
document.documentElement.textContent = "MEASURED" + JSON.stringify({wide, over, laid}) + "END";
</script>"""


def measured(folder: Path, found: Faults, width: int) -> dict[str, Any]:
    """How wide the page is laid out, what stands out of its card, and which labels lie on each other."""
    text = report.render(found)
    page = folder / "faults.html"
    page.write_text(re.sub("<meta http-equiv.*>", "", text) + MEASURE, encoding="utf-8")
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/profile",
        f"--window-size={width},900",
    ]
    said = run([str(BROWSER), *flags, "--dump-dom", f"file://{page}"], timeout=120).stdout
    measures = re.search("MEASURED(.*)END", said)
    assert measures, said[-500:]
    told: dict[str, Any] = json.loads(html.unescape(measures[1]))
    return told


@pytest.mark.needs("browser")
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_stands_out_and_no_label_lies_on_another(tmp_path: Path, width: int) -> None:
    turns = way("200 and 503 in turn", [call(n / 2, 0.01, (200, 503)[n % 2]) for n in range(16)],
                [reached(7.5, 401, key="other")] * 120)  # fmt: skip
    found = faults([*a_rehearsal.some()["faults"], fault("turns", "In turn", turns, turns, turns)])
    assert measured(tmp_path, found, width) == {"wide": width, "over": [], "laid": []}


@pytest.mark.needs("browser")
@pytest.mark.parametrize("width", [390, 1280])
def test_a_long_word_stands_out_of_nothing(tmp_path: Path, width: int) -> None:
    found = measured(tmp_path, everywhere("https://api.provider.com/" + "x" * 400), width)
    assert (found["wide"], found["over"]) == (width, [])


def test_a_way_that_was_not_tried_has_no_picture() -> None:
    nothing = untried("no Envoy")
    text = report.render(faults([fault("x", "x", nothing, nothing, nothing, verdict="not_tried")]))
    assert "no Envoy" in text
    assert 'class="plot"' not in text
