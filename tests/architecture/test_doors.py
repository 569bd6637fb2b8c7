"""To add a thing takes the steps that docs/architecture.md lists, and no more; a forgotten step does not pass unseen.

A copy of the package gets a fake of each thing. With all steps it works, without any one of them it does not.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST = 4


@dataclass(frozen=True)
class Step:
    """A new file with `text`; or `text` before the line `before`, or in the place of it, in one that is there."""

    path: str
    text: str
    before: str = ""
    instead: str = ""

    def make(self, package: Path) -> None:
        path = package / self.path
        was = path.read_text(encoding="utf-8") if path.exists() else ""
        there = self.before or self.instead
        assert there in was, (self.path, there)
        new = was.replace(there, self.text + self.before, 1) if there else self.text
        path.write_text(new, encoding="utf-8")


@dataclass(frozen=True)
class Thing:
    """`heading` is what docs/architecture.md calls it; `uses` is a program that needs the fake."""

    heading: str
    steps: Sequence[Step]
    uses: str


KIND = """
from .file import as_before, capture, differ, place, read, restore, seen_as, wanted, write
"""
AREA = """
from hostguard.control import Area, WantingControl
from hostguard.status import Severity

CONTROL = WantingControl(id="marker.there", title="A marker", severity=Severity.LOW, rationale="", remediation="",
                         references=(), wants=lambda context: [])
AREA = Area(name="marker", controls=(CONTROL,), least={}, without="leave it out", role="marker_role", does="A marker")
"""
FORMAT = """
def render(report, *, colour, width):
    return "a fake"
"""
THINGS = (
    Thing(
        "A kind of resource",
        (
            Step("host/kinds/marker.py", KIND),
            Step("host/kinds/__init__.py", "from . import marker\n", before="from . import file,"),
            Step("host/kinds/__init__.py", '    "marker": marker,\n', before='    "pam_limit": pam_limit,\n'),
            Step("host/kinds/__init__.py", '    ("marker", "restore"),\n', before='    ("sysctl", "restore"),\n'),
            Step("answer/kind.py", '    "marker": File,\n', before='    "file": File,'),
            Step("catalogue/how_to.py", '    "marker": HowTo("", "", "", ""),\n', before='    "file": HowTo(\n'),
        ),
        "import hostguard.catalogue.text, hostguard.verdict\n"
        "from hostguard.host.kinds import KINDS\nassert 'marker' in KINDS",
    ),
    Thing(
        "An area",
        (
            Step("policy/model.py", '    marker: str | None = None\n    """."""\n', before="    waivers: tuple["),
            Step("controls/marker.py", AREA),
            Step("controls/__init__.py", "kernel, limits, marker, platform", instead="kernel, limits, platform"),
            Step("controls/__init__.py", "    marker.AREA,\n", before="    secrets.AREA,\n"),
        ),
        "import hostguard.catalogue.text\nfrom hostguard.ansible import role_docs\n"
        "from hostguard.ansible.actions.transaction import APPLY_SPEC\n"
        "assert 'marker_role' in [role.name for role in role_docs.ALL_ROLES]\n"
        "assert 'marker' in APPLY_SPEC['areas']['choices']",
    ),
    Thing(
        "Evidence",
        (
            Step("host/evidence/marker.py", "def marker(request):\n    return 7\n"),
            Step("host/evidence/__init__.py", '    "marker": "marker",\n', before='    "uname": "machine",\n'),
            Step("answer/collector.py", '    "marker": int,\n', before='    "uname": tuple['),
        ),
        "from hostguard import answer\nfrom hostguard.host.evidence import collect\nasked = {'collect': 'marker'}\n"
        "said = collect({'m': asked})['m']\nassert answer.evidence(asked, said, image=False) == {'said': 7}",
    ),
    Thing(
        "A scheme",
        (
            Step("target/schemes.py", '    "marker": _container("marker"),\n', before='    "docker": _container('),
        ),
        "from hostguard.target import remote\n"
        "assert remote.parse('marker://x').way[0] == 'marker'\nassert 'marker://NAME' in remote.EXPECTED",
    ),
    Thing(
        "A format of report",
        (
            Step("report/marker.py", FORMAT),
            Step("report/__init__.py", 'NAMES = ("marker", ', instead="NAMES = ("),
        ),
        "from hostguard.cli import audit\nfrom hostguard.report import render\nfrom hostguard.result import Report\n"
        "assert audit.outputs(['marker'], None)[0][0] == 'marker' and 'marker' in audit.FORMATS\n"
        "assert render('marker', Report('', '', '', ()), colour=False, width=80) == 'a fake'",
    ),
)  # fmt: skip
NAMES = [thing.heading for thing in THINGS]


def works(folder: Path, thing: Thing, steps: Iterable[Step]) -> subprocess.CompletedProcess[str]:
    """The program that needs the fake, in a copy of the package with these steps made."""
    package = folder / "hostguard"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "hostguard", package, ignore=shutil.ignore_patterns("__pycache__"))
    for step in steps:
        step.make(package)
    return subprocess.run(
        [sys.executable, "-c", thing.uses], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("thing", THINGS, ids=NAMES)
def test_it_works_once_all_its_steps_are_made(thing: Thing, tmp_path: Path) -> None:
    done = works(tmp_path, thing, thing.steps)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("thing", THINGS, ids=NAMES)
def test_a_forgotten_step_does_not_pass(thing: Thing, tmp_path: Path) -> None:
    for forgotten in thing.steps:
        done = works(tmp_path, thing, [step for step in thing.steps if step is not forgotten])
        assert done.returncode, forgotten


@pytest.mark.parametrize("thing", THINGS, ids=NAMES)
def test_it_takes_no_more_than_is_documented(thing: Thing) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition(f"**{thing.heading}**")[2].partition("\n**")[0]
    assert len(re.findall(r"^\d\. ", section, re.MULTILINE)) <= MOST
    for path in {step.path for step in thing.steps}:
        folder, _, name = path.rpartition("/")
        assert (f"{folder}/" if name == "marker.py" else name) in section, path
