"""The examples for GitHub and GitLab: as their vendors' schemas say, and every command in them run as it stands."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from hostguard.controls import CATALOGUE

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "pipelines"
GITHUB, GITLAB = EXAMPLES / "github-actions.yml", EXAMPLES / "gitlab-ci.yml"
SCHEMAS = {GITHUB: "vendor.github-workflows", GITLAB: "vendor.gitlab-ci"}
# The system's packages stay as they are; how hostguard is installed is tried in test_install.py.
NOT_RUN = ("pip install ", "sudo apt-get ", "apt-get ")
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
NOBODY = {"ansible_host": "127.0.0.1", "ansible_port": 1}

examples = pytest.mark.parametrize("example", SCHEMAS, ids=lambda path: path.stem)

MANAGED = sum(control.area != "gateway" for control in CATALOGUE)  # the examples' policy has all sections but this


@dataclass(frozen=True)
class Step:
    line: str
    environment: dict[str, str]


def steps(example: Path) -> Iterator[Step]:
    """Every command of an example, in order, with the variables that it is given."""
    for job in yaml.safe_load(example.read_text(encoding="utf-8")).get("jobs", {}).values():
        yield from (Step(step["run"], step.get("env", {})) for step in job["steps"] if "run" in step)
    if example == GITLAB:
        for job in yaml.safe_load(example.read_text(encoding="utf-8")).values():
            lines = [*job.get("before_script", ()), *job.get("script", ())]
            yield from (Step(line, job.get("variables", {})) for line in lines)


def step(example: Path, words: str) -> Step:
    (found,) = (each for each in steps(example) if words in each.line)
    return found


@dataclass(frozen=True)
class Pipeline:
    """A repository's folder, and what a runner has beside it."""

    folder: Path

    def run(self, step: Step) -> subprocess.CompletedProcess[str]:
        beside = self.folder.parent
        given = {name: value.replace("$SSH_KEY", f"{beside}/key") for name, value in step.environment.items()}
        environment = {
            "PATH": f"{beside}/bin:{os.environ['PATH']}",
            "HOME": str(beside),
            "LANG": "C.UTF-8",
            "GITHUB_STEP_SUMMARY": str(beside / "summary.md"),
            "SSH_KEY": str(beside / "key"),
            **given,
        }
        call = ["bash", "-e", "-o", "pipefail", "-c", step.line]
        return subprocess.run(
            call, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def hosts(self, **variables: Any) -> None:
        (self.folder / "inventory.yml").write_text(json.dumps({"all": {"hosts": {"web1": variables}}}))


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    made = Pipeline(tmp_path / "repository")
    for folder in ("repository", "bin"):
        (tmp_path / folder).mkdir()
    ours = f'PYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.quote(sys.executable)} -m hostguard "$@"'
    # Who runs the tests is who the runner's sudo makes of them.
    for name, does in (("hostguard", ours), ("sudo", 'exec "$@"')):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
    (tmp_path / "key").write_text("a key")
    (made.folder / "hostguard.yml").write_bytes((ROOT / "examples" / "hostguard.yml").read_bytes())
    made.hosts(**LOCAL)
    return made


@examples
def test_as_its_vendors_schema_says(example: Path, tmp_path: Path) -> None:
    def check(path: Path) -> int:
        call = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[example], str(path)]
        return subprocess.run(call, capture_output=True, check=False).returncode

    assert check(example) == 0
    wrong = tmp_path / example.name
    wrong.write_text(example.read_text(encoding="utf-8").replace("when: always", "when: ever").replace("runs-on", "on"))
    assert check(wrong) == 1


@examples
def test_no_command_of_an_example_goes_untested(example: Path) -> None:
    """What is not run is known by name; what is neither that nor one of these has no test yet."""
    ours = ("hostguard validate", "hostguard audit ", "hostguard rehearse", 'sudo "$(which hostguard)" rehearse')
    lines = [each.line for each in steps(example)]
    others = [line for line in lines if not line.startswith((*ours, *NOT_RUN))]
    assert len(others) == 1, others
    assert sum(line.startswith(ours) for line in lines) == 3


@examples
def test_the_policy_is_checked(example: Path, pipeline: Pipeline) -> None:
    validate = step(example, "validate")
    done = pipeline.run(validate)
    assert (done.returncode, done.stderr) == (0, "")
    (pipeline.folder / "hostguard.yml").write_text("version: 1\nbogus: 1\n")
    done = pipeline.run(validate)
    assert (done.returncode, done.stdout) == (2, "")
    assert "hostguard.yml:2: bogus: found an unknown key" in done.stderr


@pytest.mark.needs("root", "namespaces")
@examples
def test_the_policy_is_rehearsed(example: Path, pipeline: Pipeline) -> None:
    done = pipeline.run(step(example, "rehearse"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"Escaped: (\d+) of \1 before, 0 of \1 after", done.stdout)


def test_the_key_is_for_ssh_alone(pipeline: Pipeline) -> None:
    install = step(GITHUB, "ssh-key")
    assert pipeline.run(Step(install.line, {"SSH_KEY": "a key"})).returncode == 0
    made = pipeline.folder / step(GITHUB, "audit").environment["ANSIBLE_PRIVATE_KEY_FILE"]
    assert (made.read_text(), made.stat().st_mode & 0o777) == ("a key\n", 0o600)
    assert pipeline.run(step(GITLAB, "chmod")).returncode == 0
    assert (pipeline.folder.parent / "key").stat().st_mode & 0o777 == 0o600


@examples
def test_the_audits_exit_codes(example: Path, pipeline: Pipeline) -> None:
    audit = step(example, "audit")
    done = pipeline.run(audit)
    assert done.returncode == 1, done.stderr  # nobody has applied the example's policy here
    assert "\nFAIL egress.output  " in done.stdout
    assert "\nweb1: " in done.stdout
    pipeline.hosts(**NOBODY)
    done = pipeline.run(audit)
    assert (done.returncode, f"web1: {MANAGED} unknown" in done.stdout) == (3, True), done.stderr
    assert len(done.stdout.splitlines()) < 10, "one reason is said once"
    pipeline.hosts(**LOCAL)
    (pipeline.folder / "hostguard.yml").write_text("version: 1\ncapacity: {peak_rps: 10, p99: 1s}\n")
    assert pipeline.run(audit).returncode == 0
    (pipeline.folder / "hostguard.yml").write_text("version: 2\n")
    done = pipeline.run(audit)
    assert (done.returncode, done.stdout) == (2, "")


def test_what_the_pipelines_keep(pipeline: Pipeline) -> None:
    """The files that later steps and the vendors' pages name, as the audit wrote them."""
    pipeline.run(step(GITHUB, "audit"))
    jobs = yaml.safe_load(GITHUB.read_text(encoding="utf-8"))["jobs"]
    (upload,) = (each for each in jobs["fleet"]["steps"] if "upload-sarif@" in each.get("uses", ""))
    sarif = json.loads((pipeline.folder / upload["with"]["sarif_file"]).read_text(encoding="utf-8"))
    place = sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == "hostguard.yml"
    assert (pipeline.folder.parent / "summary.md").read_text(encoding="utf-8").startswith("### hostguard: ")

    pipeline.run(step(GITLAB, "audit"))
    artifacts = yaml.safe_load(GITLAB.read_text(encoding="utf-8"))["fleet"]["artifacts"]
    (suite,) = JUnitXml.fromfile(str(pipeline.folder / artifacts["reports"]["junit"]))
    assert (suite.name, suite.tests) == ("web1", len(CATALOGUE))
    (page,) = artifacts["paths"]
    assert (pipeline.folder / page).read_text(encoding="utf-8").startswith("<!doctype html>")


def test_no_more_rights_than_are_needed() -> None:
    workflow = yaml.safe_load(GITHUB.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    wanted = {"actions": "read", "contents": "read", "security-events": "write"}
    assert {name: job.get("permissions") for name, job in workflow["jobs"].items()} == {"policy": None, "fleet": wanted}
