"""The host program on its way: through a shell, out of memory, and back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from hostguard.host import window
from hostguard.host.resource import HostError
from hostguard.target import payload

HISTORY = {"do": "history"}
UNKNOWN = {"do": "dance"}


def sent(command: str, request: Mapping[str, object], **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["sh", "-c", command], input=payload.stdin(request), capture_output=True, env={**os.environ, **env}, check=False
    )


def answered(done: subprocess.CompletedProcess[bytes], do: str = "read") -> dict[str, object]:
    return payload.answer(do, done.returncode, done.stdout, done.stderr)


def test_the_host_answers() -> None:
    bundle = {"resources": [], "areas": None, "evidence": {"kernel": {"collect": "uname"}}}
    found = answered(sent(payload.command(sys.executable), {"do": "read", "bundle": bundle}))
    assert found["evidence"] == {"kernel": {"said": list(os.uname())}}


def test_what_the_host_can_t_do_is_an_answer() -> None:
    assert "does not know 'dance'" in str(answered(sent(payload.command(), UNKNOWN))["error"])


def test_a_login_shell_may_say_something_first() -> None:
    done = sent(f"echo 'Welcome! {{'; {payload.command()}; echo goodbye", UNKNOWN)
    assert "dance" in str(answered(done)["error"])


@pytest.mark.parametrize("eats", ["head -c 10 >/dev/null", "head -c 3000 >/dev/null", "read x"])
def test_a_login_file_that_reads_standard_input_is_named(eats: str) -> None:
    with pytest.raises(HostError, match="reads standard input"):
        answered(sent(f"{eats}; {payload.command()}", UNKNOWN))


def test_the_accounts_own_python_settings_are_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not this one')")
    assert "error" in answered(sent(payload.command(), UNKNOWN, PYTHONPATH=str(tmp_path), PYTHONSTARTUP="/nowhere"))


def test_a_host_without_python_is_told_from_a_broken_connection(tmp_path: Path) -> None:
    (tmp_path / "cat").symlink_to(str(shutil.which("cat")))
    sh = str(shutil.which("sh"))
    command = payload.command().replace(payload.PYTHONS[1], "/no/python")  # found without a PATH where it is there
    done = subprocess.run(
        [sh, "-c", command], input=payload.stdin(HISTORY), capture_output=True, env={"PATH": str(tmp_path)},
        check=False,
    )  # fmt: skip
    assert done.returncode == payload.NO_PYTHON
    with pytest.raises(HostError, match="python3 is not installed"):
        answered(done)


def test_who_answers_nothing_is_no_answer() -> None:
    with pytest.raises(HostError, match="out of cheese"):
        payload.answer("read", 1, b"some\nwords\n", b"Traceback\n  out of cheese\n")
    with pytest.raises(HostError, match="said nothing, and ended with 9"):
        payload.answer("read", 9, b"", b"")


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The call of the program that goes back without us."""
    monkeypatch.setattr(window, "PROGRAM", str(tmp_path / "program.pyz"))
    window._install_program()
    return [sys.executable, "-I", window.PROGRAM]


def test_the_archive_that_goes_back_without_us_runs(archive: list[str]) -> None:
    done = subprocess.run([*archive, "dance"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "hostguard: the host program knows no 'dance'\n")


@pytest.mark.needs("namespaces")
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        pytest.param("true", (0, ""), id="nobody waits for a generation 0"),
        pytest.param(
            "mkdir -p /var/lib/hostguard/pending.json",
            (1, "hostguard: [Errno 21] Is a directory: '/var/lib/hostguard/pending.json'\n"),
            id="records that can't be read",
        ),
    ],
)
def test_the_archive_ends_in_words(archive: list[str], records: str, expected: tuple[int, str]) -> None:
    """Under a /var/lib of its own: the machine's may hold records, and an ordinary user may not look."""
    own = f'mount -t tmpfs none /var/lib && {records} && exec "$@" expire 0'
    call = ["unshare", "--user", "--map-root-user", "--mount", "--", "sh", "-c", own, "sh", *archive]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == expected
