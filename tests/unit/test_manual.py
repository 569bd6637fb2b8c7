"""The manual page: what the commands declare, in words that man shows without a complaint."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hostguard.cli import manual
from hostguard.cli.main import EXITS, INTERRUPTED
from hostguard.status import Exit

ROOT = Path(__file__).parents[2]
SECTIONS = ("NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "FILES", "ENVIRONMENT", "EXAMPLES",
            "SEE ALSO")  # fmt: skip


def shown(*options: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "200"}
    call = ["man", *options, "-l", str(manual.PAGE)]
    return subprocess.run(call, env=environment, capture_output=True, text=True, check=True)


def test_the_page_is_fresh() -> None:
    assert manual.PAGE.read_text(encoding="utf-8") == manual.page(), "run `python -m hostguard.cli.manual`"


def test_it_has_its_sections() -> None:
    assert tuple(re.findall(r"^\.SH (.*)$", manual.page(), re.MULTILINE)) == SECTIONS


@pytest.mark.parametrize("columns", ["20", "400"])
def test_it_is_the_same_on_every_terminal(columns: str) -> None:
    look = "from hostguard.cli import manual; print(manual.page(), end='')"
    environment = {**os.environ, "COLUMNS": columns, "TERMINAL_WIDTH": columns, "LC_ALL": "C", "PYTHONPATH": str(ROOT)}
    call = [sys.executable, "-c", look]
    assert subprocess.run(call, env=environment, capture_output=True, check=True).stdout == manual.PAGE.read_bytes()


def test_no_value_goes_without_a_name() -> None:
    class Nameless:
        param_type_name, opts, metavar, default, show_default = "option", ["--x"], None, None, True
        is_flag, nargs, required, help = False, 1, False, ""

    with pytest.raises(ValueError, match="audit: --x has no metavar"):
        manual._option("audit", Nameless())


@pytest.mark.needs("manual")
def test_man_shows_it_and_warns_of_nothing() -> None:
    assert shown("--warnings=w").stderr == ""


@pytest.mark.needs("manual")
def test_whatever_help_tells_of_is_there_as_it_is_typed() -> None:
    text = re.sub(r"\s+", " ", shown("--no-hyphenation", "--no-justification").stdout)
    for name, command in manual.COMMANDS.items():
        assert f"hostguard {name} [OPTION ...]" in text
        for each in command.params:
            assert each.help.replace("`", "") in text, (name, each.opts)
            if each.param_type_name == "option":
                assert ", ".join(each.opts) in text
    for roff in ("\\f", "\\-", "\\(", "\\["):
        assert roff not in text


def test_each_exit_code_has_its_words() -> None:
    assert set(EXITS) == {INTERRUPTED, *(code.value for code in Exit)}


@pytest.mark.parametrize(
    ("text", "roff"),
    [
        (".profile", "\\&.profile"),
        ("'quoted'", "\\(aqquoted\\(aq"),
        ("with --no-log and a well-known -i", "with \\fB\\-\\-no\\-log\\fR and a well-known \\fB\\-i\\fR"),
        ("`a\\b ~ ^`", "\\fBa\\eb \\(ti \\(ha\\fR"),
        ("≥ 3", "\\[u2265] 3"),
    ],
)
def test_text_stays_text(text: str, roff: str) -> None:
    assert manual.prose(text) == roff
