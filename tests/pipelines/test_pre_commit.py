"""The hook as pre-commit installs it from a repository, and runs it on a good policy and on a bad one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "pipelines" / "pre-commit-config.yaml"
URL = "https://example.org/hostguard"


def call(folder: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHONPATH"))}
    who = {f"GIT_{role}_{part}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    given = {**alone, **who, **environment}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=600)


def commit(folder: Path, tag: str = "") -> None:
    for words in (("init", "--quiet"), ("add", "--all"), ("commit", "--quiet", "--message", "x"), ("tag", tag)):
        if words[-1]:
            done = call(folder, "git", *words)
            assert done.returncode == 0, done.stderr


def repository(folder: Path, tag: str) -> None:
    """The checkout as it would be committed, at a release of that name."""
    listed = call(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    commit(folder, tag)


@pytest.mark.needs("git", "package index")
def test_the_hook_lets_good_policies_through_and_no_others(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "hostguard", tmp_path / "theirs"
    for folder in (ours, theirs / "staging"):
        folder.mkdir(parents=True)
    text = EXAMPLE.read_text(encoding="utf-8")
    assert text.count(URL) == 1
    repository(ours, tag="v0.1.0")
    config = text.replace(URL, str(ours))
    (theirs / ".pre-commit-config.yaml").write_text(config, encoding="utf-8")
    shutil.copy(ROOT / "examples" / "hostguard.yml", theirs / "hostguard.yml")
    (theirs / "other.yml").write_text("version: 2\n")
    commit(theirs)

    def run() -> subprocess.CompletedProcess[str]:
        command = (sys.executable, "-m", "pre_commit", "run", "--all-files", "--verbose")
        return call(theirs, *command, PRE_COMMIT_HOME=str(tmp_path / "cache"))

    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hostguard.yml: valid; it manages " in done.stdout
    assert "other.yml" not in done.stdout
    (theirs / "staging" / "hostguard.yml").write_text("version: 2\n")
    commit(theirs)
    done = run()
    assert done.returncode == 1
    assert "- exit code: 2\n" in done.stdout
    assert "hostguard: staging/hostguard.yml:1: version: found 2, expected 1\n" in done.stdout
    assert "\nhostguard.yml: valid; " in done.stdout
