"""Root follows no policy that others could have written: every file, folder and link on the way to it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hostguard.policy.trust import distrusted

ROOT = {os.geteuid(), 0}
STRANGER = 12345
as_root = pytest.mark.needs("root")


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "fleet" / "hostguard.yml"
    path.parent.mkdir()
    path.write_text("version: 1\nplatform: {}\n", encoding="utf-8")
    path.chmod(0o644)
    return path


def test_what_nobody_else_can_write(policy: Path) -> None:
    assert distrusted(policy, ROOT, ROOT) == ""
    assert distrusted(policy.with_name("none.yml"), ROOT, ROOT) == "", "that it is not there is another's to say"


def chowned(path: Path) -> None:
    os.chown(path, STRANGER, -1, follow_symlinks=False)


def by_way_of_a_strangers_link(policy: Path) -> None:
    policy.rename(policy.with_name("real.yml"))
    policy.symlink_to("real.yml")
    chowned(policy)


def into_a_strangers_folder(policy: Path) -> None:
    away = policy.parent.parent / "away"
    away.mkdir()
    policy.rename(away / policy.name)
    policy.symlink_to(away / policy.name)
    away.chmod(0o777)


def of_a_group(path: Path) -> None:
    os.chown(path, -1, STRANGER)
    path.chmod(path.stat().st_mode | 0o020)


def sticky(policy: Path) -> None:
    policy.parent.chmod(0o1777)


@as_root
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda policy: policy.chmod(0o666), "any account can write"),
        (lambda policy: policy.parent.chmod(0o777), "any account can write"),
        (chowned, f"belongs to the account {STRANGER}"),
        (lambda policy: chowned(policy.parent), f"belongs to the account {STRANGER}"),
        (of_a_group, f"the group {STRANGER} can write"),
        (lambda policy: of_a_group(policy.parent), f"the group {STRANGER} can write"),
        (by_way_of_a_strangers_link, f"belongs to the account {STRANGER}"),
        (into_a_strangers_folder, "any account can write"),
        (sticky, ""),
    ],
)
def test_what_others_can_write(policy: Path, change: Callable[[Path], object], said: str) -> None:
    change(policy)
    found = distrusted(policy, {0}, {0})
    assert (said in found) if said else not found
    assert not found or "ch" in found.rpartition(": ")[2], "it says how to mend it"


def run(policy: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "hostguard", *arguments]
    clean = {name: said for name, said in os.environ.items() if not name.startswith("SUDO_")}
    return subprocess.run(call, cwd=policy.parent, env={**clean, "PYTHONPATH": str(Path(__file__).parents[2]),
                          **environment}, capture_output=True, text=True, check=False)  # fmt: skip


@as_root
def test_the_commands_say_which_policy_and_root_refuses_a_strangers(policy: Path) -> None:
    first = run(policy, "audit").stderr.splitlines()[0]
    assert first.startswith(f"hostguard: policy {policy} (sha256 ")
    policy.chmod(0o666)
    for command in ("plan", "audit", "prove", "apply"):
        done = run(policy, command)
        assert done.returncode == 2, done.stderr
        assert "root follows no policy that others can write" in done.stderr
        assert f"chmod o-w {policy}" in done.stderr
        assert done.stdout == ""
    assert run(policy, "validate").returncode == 0, "it touches nothing"


@as_root
def test_root_follows_no_schema_that_others_can_write(policy: Path) -> None:
    policy.write_text(
        "version: 1\n"
        "egress: {proxy_user: envoy, resolvers: [10.0.0.2], providers: {pay: {hosts: [api.provider.com]}}}\n"
        "gateway: {providers: {pay: {users: [shop], listen: 84, load: {peak_rps: 1, p99: 1s}, "
        "payload: {schema: pay.json}}}}\n",
        encoding="utf-8",
    )
    schema = policy.with_name("pay.json")
    schema.write_text("{}", encoding="utf-8")
    schema.chmod(0o666)
    done = run(policy, "plan")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"chmod o-w {schema}" in done.stderr
    assert run(policy, "validate").returncode == 0, "it touches nothing"


@as_root
def test_who_came_by_sudo_may_have_written_it(policy: Path) -> None:
    chowned(policy)
    assert run(policy, "audit").returncode == 2
    assert run(policy, "audit", SUDO_UID=str(STRANGER), SUDO_GID=str(STRANGER)).returncode != 2
