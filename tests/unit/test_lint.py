"""What the linters of tests/lint look at, and that they see a fault there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lint import sanity, shell
from tests.lint.shell import Script

FAULT = "cat $1"
DOUBLE_QUOTE = "[SC2086]"

pytestmark = pytest.mark.needs("git")


@pytest.fixture(scope="module")
def found() -> list[Script]:
    return list(shell.scripts())


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        "tests/lab/rootfs/usr/local/sbin/lab-init",
        "molecule/machine/prepare.yml",
        "examples/pipelines/github-actions.yml",
        "examples/pipelines/gitlab-ci.yml",
        "roles/audit_timer/templates/hostguard-audit.service.j2",
        "on a host, /etc/hostguard/egress/load",
        "on a host, /etc/hostguard/egress/frames",
    ],
)
def test_scripts_are_found_by_what_runs_them(found: list[Script], name: str) -> None:
    assert name in {script.name for script in found}


def test_what_is_found_is_rendered(found: list[Script]) -> None:
    of_others = [
        script for script in found if Path(script.name).suffix in (".yml", ".j2") or "on a host" in script.name
    ]
    assert [script.name for script in of_others if "{{" in script.text or "{%" in script.text] == []


def test_each_way_of_a_template_is_seen(found: list[Script]) -> None:
    """A block that no variant of the policy renders is one that nobody checks."""
    seen = "".join(script.text for script in found if script.name.startswith("on a host"))
    for template in ("egress-load.j2", "frames.sh.j2"):
        text = (shell.CHECKOUT / "hostguard" / "controls" / "templates" / template).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line and "{" + "{" not in line and "{" + "%" not in line]
        assert [line for line in lines if line not in seen] == []


def test_a_fault_is_told_with_its_place() -> None:
    said = shell.check([Script("well", "echo 1\n"), Script("here", f"echo 1\n{FAULT}\n")])
    assert said.startswith("here:2:5: ")
    assert DOUBLE_QUOTE in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        f"- ansible.builtin.shell: {FAULT}",
        f"- block: [{{ansible.builtin.shell: {{cmd: {FAULT}}}}}]",
        f"jobs: {{one: {{steps: [{{run: {FAULT}}}]}}}}",
        f"one: {{script: [{FAULT}]}}",
        f"one: !reference [x]\ntwo: {{before_script: [{FAULT}]}}",
    ],
)
def test_shell_in_yaml_is_looked_at(text: str) -> None:
    assert DOUBLE_QUOTE in shell.check(shell.in_yaml("a.yml", text))


def test_shell_in_python_is_looked_at() -> None:
    written = f'TEXT = "#!/bin/sh\\n{FAULT}\\n"\nFILLED = f"#!/bin/sh\\n{{TEXT}}\\n{FAULT}\\n"\n'
    assert shell.check(shell.in_python("a.py", written)).count(DOUBLE_QUOTE) == 2


def test_shell_in_a_unit_of_a_role_is_looked_at(tmp_path: Path) -> None:
    role = tmp_path / "role"
    (role / "templates").mkdir(parents=True)
    (role / "defaults").mkdir()
    (role / "defaults" / "main.yml").write_text("a: $1\nb: '{{ a }}'\n")
    (role / "templates" / "x.service.j2").write_text("ExecStart=/bin/sh -c 'cat {{ b }}'\n")
    assert DOUBLE_QUOTE in shell.check(shell.in_role(role, tmp_path))


def test_the_collection_is_packed_with_what_ansible_test_reads_and_no_tests(tmp_path: Path) -> None:
    place = sanity.packed(tmp_path)
    assert {path.name for path in place.joinpath("tests").iterdir()} == {"sanity"}
    assert {path.name for path in place.iterdir() if path.name.startswith(".")} == set()
    assert place.joinpath("plugins", "modules", "apply.py").exists()
