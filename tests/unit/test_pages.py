"""The pages that are written by hand: what they show, name, link and tell people to run is there, and safe."""

from __future__ import annotations

import fnmatch
import functools
import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from hostguard import generated
from hostguard.bundle import compile_policy
from hostguard.cli.main import app
from hostguard.policy.load import load, of_variables
from tests import pages
from tests.unit.test_secret_agent import policy as with_an_agent

ROOT = generated.ROOT
DOCS = sorted(pages.DOCS.glob("*.md"))
FOLDERS = [
    ".ci",
    "docs",
    "examples",
    "hostguard",
    "inventories",
    "molecule",
    "monitoring",
    "playbooks",
    "plugins",
    "roles",
]
TEXTS = sorted(
    path
    for path in (*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*")))
    if path.is_file() and path.suffix not in (".pyc", ".svg", ".lock")
)
MARKDOWN = [path for path in TEXTS if path.suffix == ".md"]
BY_NAME = re.compile(
    r"\b(?:pip3? +install|pipx +(?:install|run)|uv +(?:tool +install|add)|uvx|galaxy +collection +install)\b"
    r"[^\n`]*?[ '\"]hostguard(?:\.hostguard)?(?:\[\w+\])?(?![\w./@:-]| @)"
)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@functools.cache
def tokens(page: Path) -> list[Token]:
    parsed = MarkdownIt("gfm-like", {"linkify": False}).parse(page.read_text(encoding="utf-8"))
    return [each for token in parsed for each in (token, *(token.children or ()))]


@functools.cache
def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings, and those that a page sets itself."""
    found, heading = set(), False
    for token in tokens(page):
        if token.type == "inline" and heading:
            text = "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-"))
        heading = token.type == "heading_open"
    return found | set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", DOCS, ids=named)
def test_the_files_that_a_page_shows_are_shown_as_they_are(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == pages.fresh(page), "run `make docs`"


def test_every_recipe_is_shown_in_full() -> None:
    recipes = (ROOT / "examples" / "recipes").iterdir()
    assert sorted(pages.shown(pages.DOCS / "recipes.md")) == sorted(recipes)


@pytest.mark.parametrize("page", MARKDOWN, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    wrong = []
    for token in tokens(page):
        link = str(token.attrs.get("href", token.attrs.get("src", "")))
        if not link or re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            wrong.append(link)
    assert wrong == []


def test_the_readme_leads_to_every_page() -> None:
    links = {token.attrs.get("href", "") for token in tokens(ROOT / "README.md")}
    assert {named(page) for page in DOCS} <= {str(link).partition("#")[0] for link in links}


def test_every_command_and_each_of_its_options_is_one() -> None:
    """The table of docs/commands.md, beside what typer knows."""
    import typer

    known = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group, as soon as it has two
    page = (pages.DOCS / "commands.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`hostguard .*?) \| ", page, re.MULTILINE)
    told = {row.split()[1].strip("`"): set(re.findall(r"(?<!-)--?[a-z][a-z0-9-]*", row)) for row in table}
    assert set(told) == set(known)
    for name, options in told.items():
        assert options <= {option for parameter in known[name].params for option in parameter.opts}, name


def test_nobody_is_told_to_install_a_name_that_is_not_ours() -> None:
    """Whoever registers it on an index would run as root on the hosts of those who follow."""
    found = [
        (named(path), match[0]) for path in TEXTS for match in BY_NAME.finditer(path.read_text("utf-8", "replace"))
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "pip install hostguard",
        "pip install --quiet hostguard==0.1.0",
        "pipx install hostguard",
        "pip install hostguard (or pydantic) there",
        "uv tool install hostguard[legacy]",
        "ansible-galaxy collection install hostguard.hostguard",
    ],
)
def test_such_a_line_would_be_seen(line: str) -> None:
    assert BY_NAME.search(line)


@pytest.mark.parametrize(
    "line", ["pip install .", "pip install ./hostguard-0.1.0-py3-none-any.whl", "pip install -r x"]
)
def test_a_checkout_and_a_wheel_are_not(line: str) -> None:
    assert not BY_NAME.search(line)


SAID = re.compile(r"`(/[\w./*-]+)`")


def test_safety_names_every_file_that_an_apply_writes() -> None:
    page = (ROOT / "docs/safety.md").read_text(encoding="utf-8")
    table = page.partition("## What it writes")[2].partition("\n\nOther")[0]
    named = [place for line in table.splitlines() for place in SAID.findall(line.split("|")[1] if "|" in line else "")]
    policies = [load(path) for path in (*(ROOT / "examples").glob("*.yml"), *(ROOT / "examples/recipes").glob("*.yml"))]
    policies.append(of_variables(with_an_agent(), "a policy with an agent"))
    resources = [r for loaded in policies for r in compile_policy(loaded).resources]
    paths = {r["path"] for r in resources if r["kind"] in ("file", "lookup")}
    assert len(paths) > 20
    assert not {path for path in paths if not any(covers(place, path) for place in named)}


def covers(place: str, path: str) -> bool:
    return path.startswith(place) if place.endswith("/") else fnmatch.fnmatch(path, place)
