"""What commands say to programs, and policies that come by other ways than a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = str(ROOT / "examples" / "hostguard.yml")
BAD = "version: 1\negress:\n  resolvers: [10.0.0.2\n"


def run(*arguments: str, stdin: str = "", cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    call = [sys.executable, "-m", "hostguard", *arguments]
    return subprocess.run(call, input=stdin, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def plain(*arguments: str, stdin: str = "") -> Any:
    return json.loads(run(*arguments, stdin=stdin).stdout)


def test_validate() -> None:
    (found,) = plain("validate", "--format", "json", EXAMPLE)["policies"]
    assert (found["valid"], len(found["sha256"]), found["problems"]) == (True, 64, [])
    done = run("validate", "--format", "json", "-", stdin=BAD)
    assert done.returncode == 2
    said = json.loads(done.stdout)
    assert said["schema"] == "hostguard.validation/1"
    (problem,) = said["policies"][0]["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("standard input", 3, 14)


def test_validate_standard_input() -> None:
    done = run("validate", "-", stdin=Path(EXAMPLE).read_text())
    assert done.stdout.startswith("standard input: valid; it manages capacity, egress")
    done = run("validate", "-", stdin=BAD)
    assert "standard input:3:14: found a `[` without its `]`" in done.stderr
    assert "  3 |   resolvers: [10.0.0.2" in done.stderr


def test_an_unreadable_file_hides_no_other(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text(BAD)
    done = run("validate", str(tmp_path / "none.yml"), EXAMPLE, str(tmp_path), str(bad))
    assert done.returncode == 2
    assert f"{EXAMPLE}: valid" in done.stdout
    for path in (tmp_path / "none.yml", tmp_path, bad):
        assert f"hostguard: {path}:" in done.stderr
    assert "3 problems" in done.stderr


def test_validate_what_an_inventory_makes_of_it(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.yml"
    inventory.write_text(
        "all:\n  vars: {ansible_become_password: !vault 'never asked for'}\n  hosts:\n"
        "    a: {}\n    b: {hostguard_policy: {limits: {nofile: 70000}}}\n"
        "    c: {hostguard_policy: {limits: {nofile: many}}}\n".replace("!vault ", "")
    )
    done = run("validate", "-p", EXAMPLE, "-i", str(inventory))
    assert done.returncode == 2
    assert [line.partition(": valid")[0] for line in done.stdout.splitlines()] == [
        f"{EXAMPLE} for a",
        f"{EXAMPLE} for b",
    ]
    assert "hostguard_policy: limits.nofile: found 'many'" in done.stderr
    assert run("validate", "-p", EXAMPLE, "-i", str(inventory), "--limit", "a:b").returncode == 0


def test_size() -> None:
    said = plain("size", "-p", EXAMPLE, "--format", "json")
    assert said["schema"] == "hostguard.size/1"
    numbers = {number["name"]: number for number in said["numbers"]}
    assert numbers["concurrency"]["value"] == 3200
    assert numbers["open files"]["set_to"] == "65535"
    text = run("size", "-p", EXAMPLE).stdout
    assert all(len(line) <= 80 for line in text.splitlines())
    assert all(number["formula"].split()[0] in text for number in numbers.values())


def test_history_of_a_host_without_one(tmp_path: Path) -> None:
    if os.geteuid() != 0 or Path("/var/lib/hostguard").exists():
        pytest.skip("a host that root has never applied to")
    said = plain("history", "--format", "json")
    assert (said["schema"], [host["generations"] for host in said["hosts"]]) == ("hostguard.history/1", [[]])
    done = run("history", "7", cwd=tmp_path)
    assert (done.returncode, "no generation 7" in done.stderr) == (2, True)


@pytest.mark.parametrize("command", ["validate", "size", "history", "rehearse", "plan", "prove"])
def test_a_format_that_is_none_is_refused(command: str) -> None:
    done = run(command, "--format", "yaml", *(["-p", EXAMPLE] if command not in ("history", "validate") else []))
    assert done.returncode == 2
    known = "table, html, json" if command == "rehearse" else "table, json"
    assert f"expected one of {known}\n" in done.stderr


@pytest.mark.parametrize("command", ["checks", "audit", "plan", "apply", "rehearse"])
def test_every_help_has_the_exit_codes(command: str) -> None:
    text = " ".join(run(command, "--help", COLUMNS="80").stdout.split())
    assert "4 hostguard itself failed, or its result could not be written" in text


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("checks",), ("size", "-p", EXAMPLE), ("explain", "egress.output"), ("--help",)])
def test_a_result_that_can_not_be_written_is_no_finding(arguments: tuple[str, ...]) -> None:
    call = [sys.executable, "-m", "hostguard", *arguments]
    with FULL.open("w") as full:
        done = subprocess.run(call, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.endswith("hostguard: the result can't be written: No space left on device\n")
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *call], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                            check=False)  # fmt: skip
    assert (closed.returncode, closed.stderr) == (4, "hostguard: the result can't be written: stdout is closed\n")


def test_a_locale_without_letters_loses_none(tmp_path: Path) -> None:
    policy = tmp_path / "hostguard.yml"
    policy.write_text("version: 1\nplatform: {}\n")
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "hostguard", "audit", "--format", "json"], cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"},
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1, 3), done.stderr
    expected = {each["expected"] for each in json.loads(done.stdout.decode("utf-8"))["hosts"][0]["results"]}
    assert "≥ 4.18" in expected


def test_a_fault_of_our_own_is_no_finding(tmp_path: Path) -> None:
    broken = tmp_path / "sitecustomize.py"
    broken.write_text("import hostguard.cli.checks as c\nc._table = None\n")
    done = run("checks", PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 4
    assert done.stderr.startswith("hostguard: hostguard itself failed: TypeError: ")
    assert "Traceback" not in done.stderr
    assert "Traceback" in run("checks", PYTHONPATH=f"{tmp_path}:{ROOT}", HOSTGUARD_TRACEBACK="1").stderr
