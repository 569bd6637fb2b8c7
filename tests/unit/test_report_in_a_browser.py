"""The page as a browser has it: laid out by its own style sheet, asking nothing of anybody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hostguard.report import render
from tests.lab.process import call
from tests.programs import BROWSER
from tests.unit import reports
from tests.unit.test_reports import Page

pytestmark = pytest.mark.needs("browser")


def look(folder: Path, text: str) -> tuple[str, str, set[str]]:
    """What a browser makes of a page: its elements, its complaints, and the addresses that it asked for."""
    page, log = folder / "audit.html", folder / "net.json"
    page.write_text(text, encoding="utf-8")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", f"--user-data-dir={folder}/profile"]
    said = ["--enable-logging=stderr", f"--log-net-log={log}", "--dump-dom", f"file://{page}"]
    done = call([str(BROWSER), *flags, *said], timeout=120)
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    urls = {event["params"]["url"] for event in events if "url" in event.get("params", {})}
    return done.stdout, done.stderr, {url for url in urls if not url.startswith(("file:", "data:"))}


def test_the_page_asks_nothing_of_anybody(tmp_path: Path) -> None:
    for report in (reports.every_status(), reports.hostile()):
        text = render("html", report, colour=False, width=80)
        dom, complaints, asked = look(tmp_path, text)
        assert not asked
        # A style sheet that its own policy refuses is said so there.
        assert "Content Security Policy" not in complaints
        seen, written = Page(dom), Page(text)
        assert seen.tags == written.tags
        assert seen.tags["script"] == 0


def test_the_browser_would_have_told(tmp_path: Path) -> None:
    text = '<!doctype html><img src="http://127.0.0.1:9/x.png">'
    assert look(tmp_path, text)[2] == {"http://127.0.0.1:9/x.png"}
    ours = render("html", reports.every_status(), colour=False, width=80)
    _, complaints, asked = look(tmp_path, ours.replace("<style>", f"{text}<style> "))
    assert not asked, "the page's own policy forbids it"
    assert "Content Security Policy" in complaints
