"""Imports point one way, and what runs on a host needs nothing but an old Python."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.needs import old_pythons

PACKAGE = Path(__file__).parents[2] / "hostguard"
HOST = sorted((PACKAGE / "host").rglob("*.py"))
# Who may import whom, by the first word below hostguard; `host` is the program that a target runs.
# `status` is three tables of words, for all.
ALLOWED = {
    "host": set(),
    "policy": {"generated", "policy"},
    "status": set(),
    "response_flags": set(),
    "control": {"host", "policy"},
    "result": {"control", "policy"},
    "impact": {"host", "policy", "visible"},
    "controls": {"answer", "control", "controls", "host", "impact", "policy"},
    "bundle": {"control", "controls", "host", "policy"},
    "generated": set(),
    "visible": set(),
    "shape": {"visible"},
    "answer": {"answer", "host", "shape", "visible"},
    "seen": {"answer", "host", "visible"},
    "catalogue": {"bundle", "catalogue", "control", "controls", "generated", "host", "policy"},
    "verdict": {"bundle", "control", "controls", "host", "result", "seen", "visible"},
    "waivers": {"controls", "policy", "result"},
    "drift": {"control", "controls", "host", "result", "seen", "verdict", "visible"},
    "baseline": {"control", "result"},
    "planned": {"bundle", "controls", "host", "impact", "result", "seen", "verdict"},
    "observe": {"impact", "observe", "policy"},
    "report": {
        "__version__",
        "control",
        "controls",
        "host",
        "impact",
        "observe",
        "planned",
        "rehearse",
        "report",
        "response_flags",
        "result",
        "seen",
        "visible",
    },
    "target": {"answer", "host", "target", "visible"},
    "attack": {"attack", "generated", "policy"},
    "rehearse": {"attack", "controls", "host", "policy", "rehearse"},
    "ansible": {
        "ansible",
        "bundle",
        "controls",
        "generated",
        "host",
        "impact",
        "outcome",
        "planned",
        "policy",
        "report",
        "result",
        "seen",
        "target",
        "verdict",
        "visible",
        "waivers",
    },
    "fleet": {"ansible", "fleet", "host", "target"},
    "survey": {"bundle", "planned", "seen", "verdict", "waivers"},
    "outcome": {"host"},
    "diagnose": {
        "bundle",
        "control",
        "controls",
        "diagnose",
        "generated",
        "host",
        "impact",
        "policy",
        "response_flags",
        "seen",
        "visible",
    },
    "why_on_host": {"bundle", "controls", "policy", "seen"},
}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, relative ones as written."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module != "hostguard" else [f"hostguard.{a.name}" for a in node.names]
            yield from ("." * node.level + (name or "") for name in names)


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_point_one_way(name: str) -> None:
    files = [path for path in PACKAGE.rglob("*.py") if part(path) == name]
    assert files
    for path in files:
        ours = {module.split(".")[1] for module in imports(path) if module.startswith("hostguard.")}
        assert ours <= ALLOWED[name] | {"status"}, path


def test_ansible_is_imported_in_one_place() -> None:
    for path in PACKAGE.rglob("*.py"):
        if part(path) != "ansible":
            assert "ansible" not in {module.split(".")[0] for module in imports(path)}, path


def test_every_part_has_its_arrows() -> None:
    parts = {part(path) for path in PACKAGE.rglob("*.py")} - {"__init__", "__main__", "cli"}
    assert parts == set(ALLOWED)


def test_the_host_program_needs_the_standard_library_alone() -> None:
    for path in HOST:
        for module in imports(path):
            assert module.startswith(".") or module.split(".")[0] in sys.stdlib_module_names, (path, module)


def test_the_host_program_is_written_for_python_3_8() -> None:
    for path in HOST:
        ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


@pytest.mark.needs("old Python")
def test_the_host_program_runs_on_old_pythons() -> None:
    look = "import sys; sys.path.insert(0, sys.argv[1])\nfrom hostguard.host.program_main import answer\n"
    look += "bundle = {'areas': None, 'resources': [], 'evidence': {'u': {'collect': 'uname'}}}\n"
    look += "print(len(answer({'do': 'read', 'bundle': bundle})))"
    for python in old_pythons():
        if subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode:
            continue  # a shim without its version
        done = subprocess.run([python, "-c", look, str(PACKAGE.parent)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr


def test_the_host_program_loads_no_http_before_it_asks_a_proxy() -> None:
    look = "import hostguard.host.transaction, hostguard.host.snapshot, sys; print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", look], cwd=PACKAGE.parent, capture_output=True, text=True, check=True
    )
    assert {"http", "email", "ssl"} & set(done.stdout.split()) == set()


def test_start_up_loads_nothing_heavy() -> None:
    look = "import hostguard.cli.main, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert {"rich", "pydantic", "yaml", "jinja2", "pyroute2", "iptc", "json", "concurrent", "hashlib"} & set(
        done.stdout.split()
    ) == set()
