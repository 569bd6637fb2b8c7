"""Write docs/controls.md from the controls' own text: `python -m hostguard.catalogue.page`.

With `--check` nothing is written, and the exit code is 1 where the page is not what it would be.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence

import yaml

from hostguard import generated
from hostguard.catalogue.entries import Entry, entries, of_policy
from hostguard.catalogue.standards import ASKS
from hostguard.control import ARTICLE, ARTICLE_TITLE, Reference
from hostguard.host.kinds import KINDS
from hostguard.host.resource import Resource
from hostguard.policy.model import Policy

PAGE = generated.ROOT / "docs" / "controls.md"
EXAMPLE = generated.ROOT / "examples" / "hostguard.yml"
HEAD = """\
<!-- Written by `python -m hostguard.catalogue.page` from hostguard/controls and hostguard/catalogue. -->
# The controls

Each is one thing that must be true of a host. `hostguard checks` lists them, `hostguard explain ID` shows one,
`hostguard checks --format json` is this page for programs.

**Fixed by apply**: plan shows the difference, apply makes it go away, audit finds it again, and
`hostguard rollback` takes back what the last apply did (`--to N` what those after generation N did). **Check only**:
audit judges what it sees, and the mending is yours.

**The references** name the requirement that a control helps to meet (`article` is
"ARTICLE_TITLE"), and no control meets one alone: who approves,
reviews and documents is out of a host's sight. Where a reference stands with a condition, it counts under that
condition. PCI DSS requirements count for hosts of the cardholder data environment; A1.1 for a SOC 2 report on
availability. [From a requirement to its controls](#requirements) is at the end.
"""
HEAD = HEAD.replace("ARTICLE_TITLE", ARTICLE_TITLE)
BY = {True: "apply", False: "you"}


def page() -> str:
    found = entries()
    example = of_policy(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))
    about = generated.docstrings(Policy)
    areas = list(dict.fromkeys(entry.control.area for entry in found))
    parts = [HEAD]
    for area in areas:
        members = [entry for entry in found if entry.control.area == area]
        parts += [f"## {area}\n", f"{plain(about[area])}\n", _overview(members)]
        parts += [_control(entry, example.get(entry.control.id, [])) for entry in members]
    return "\n".join([*parts, _requirements(found)])


def _overview(members: Sequence[Entry]) -> str:
    rows = ["| control | must be true | severity | fixed by | kinds |", "|---|---|---|---|---|"]
    for entry in members:
        control = entry.control
        title, kinds = plain(control.title), ", ".join(entry.kinds)
        rows.append(generated.row((link(control.id), title, str(control.severity), BY[entry.fixed_by_apply], kinds)))
    return "\n".join(rows) + "\n"


def _control(entry: Entry, wanted: Sequence[Resource]) -> str:
    control = entry.control
    rows: list[tuple[str, str]] = [("read", line) for line in entry.read]
    rows += [("reached", line) for line in entry.reach]
    rows += [("undone", line) for line in entry.undo]
    rows.append(("if it fails", control.remediation))
    lines = [
        f'<a id="{control.id}"></a>',
        f"### {control.id}\n",
        f"**{plain(control.title)}.** Severity {control.severity}, {entry.fixed}.\n",
        f"{_filled(plain(control.rationale))}\n",
        "| | |",
        "|---|---|",
        *(generated.row((head, plain(body))) for head, body in _one_head(rows)),
        "",
        *(["With the [example policy](../examples/hostguard.yml):\n", *_wanted(wanted), ""] if wanted else []),
        "Asked for by:\n",
        *(_filled(f"- {_reference(reference)}", "  ") for reference in control.references),
        *([_filled(f"- not by the article: {plain(control.beyond_article)}", "  ")] if control.beyond_article else []),
    ]
    return "\n".join(lines) + "\n"


def _one_head(rows: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """A head stands once, before the first of its rows."""
    last = ""
    for head, body in rows:
        yield "" if head == last else head, body
        last = head


def _wanted(resources: Sequence[Resource]) -> Iterator[str]:
    for resource in resources:
        said = KINDS[resource["kind"]].wanted(resource)
        if resource["kind"] == "sysctl":
            said = f"{resource['key']} {said}"
        yield f"- `{said}`"


def _reference(reference: Reference) -> str:
    asked = ASKS.get(reference.source, {}).get(reference.section)
    where = f"*{reference.section}*" if reference.source == ARTICLE else reference.section
    said = f"{reference.source}, {where}" + (f": {plain(asked)}" if asked else "")
    return f"{said} — {plain(reference.fits)}" if reference.fits else said


def _requirements(found: Sequence[Entry]) -> str:
    parts = ['<a id="requirements"></a>', "## From a requirement to its controls\n"]
    for source, sections in ASKS.items():
        parts += [f"### {source}\n", "| section | asks, in short | controls |", "|---|---|---|"]
        for section, asked in sections.items():
            answers = [e.control.id for e in found if any(_same(r, source, section) for r in e.control.references)]
            parts.append(generated.row((section, plain(asked), ", ".join(map(link, answers)))))
        parts.append("")
    return "\n".join(parts)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def _same(reference: Reference, source: str, section: str) -> bool:
    return (reference.source, reference.section) == (source, section)


def link(control: str) -> str:
    return f"[{control}](#{control})"


def plain(text: str) -> str:
    """Text as Markdown that shows it as it is; what stands between backticks stays code."""
    parts = text.split("`")
    parts[::2] = ["".join(f"\\{letter}" if letter in "\\*_[]<>#" else letter for letter in part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    sys.exit(generated.keep({PAGE: page()}, sys.argv[1:]))
