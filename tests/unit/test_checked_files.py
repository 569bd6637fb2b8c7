"""What a file's own program refuses is in the way, before anything is written."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

from hostguard.host.kinds import file
from hostguard.host.snapshot import differ

GREP, SH = str(shutil.which("grep")), str(shutil.which("sh"))


def wanted(path: Path, content: str, *check: str, **more: Any) -> dict[str, Any]:
    return {**file.resource("c", str(path), content), "check": list(check), **more}


def blocked(resource: dict[str, Any]) -> set[str]:
    return {each.blocked for each in differ(resource, file.read([resource])[resource["id"]])}


def test_what_it_takes_is_not_in_the_way(tmp_path: Path) -> None:
    assert blocked(wanted(tmp_path / "new.conf", "good\n", GREP, "good", "{}")) == {""}
    (tmp_path / "old.conf").write_text("older\n")
    assert "" in blocked(wanted(tmp_path / "old.conf", "good\n", GREP, "good", "{}"))


def test_what_it_refuses_is_said_of_the_real_path_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "a.conf"
    said = "echo bad line in $1 >&2; exit 3"
    assert blocked(wanted(path, "x\n", SH, "-c", said, "sh", "{}")) == {
        f"{path} would be refused by sh: bad line in {path}"
    }
    assert list(tmp_path.iterdir()) == []


def test_the_private_copy_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for code in ("0", "1"):
        blocked(wanted(tmp_path / "none" / "a.json", "x\n", SH, "-c", f"exit {code}"))
    assert list(tmp_path.iterdir()) == []


def test_it_sees_nothing_of_who_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    assert blocked(wanted(tmp_path / "a", "x\n", SH, "-c", '[ -z "$TOKEN" ]')) == {""}


def test_one_that_hangs_or_is_missing_is_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "CHECK_SECONDS", 0.2)
    (hangs,) = blocked(wanted(tmp_path / "a", "x\n", SH, "-c", "sleep 60"))
    assert "did not end within" in hangs
    (missing,) = blocked(wanted(tmp_path / "a", "x\n", "/opt/none", "{}"))
    assert missing.endswith("can't be tried: /opt/none is not installed on this host")


def test_nobody_is_asked_where_all_is_as_wanted_and_in_an_image(tmp_path: Path) -> None:
    marker = tmp_path / "asked"
    resource = wanted(tmp_path / "a", "x\n", SH, "-c", f"touch {marker}")
    file.read_image([resource])
    assert not marker.exists()
    file.read([resource])
    assert marker.exists()


@pytest.mark.needs("root")
def test_it_is_tried_as_the_account_that_will_read_it(tmp_path: Path) -> None:
    script = f'[ "$(id -u) $(id -G)" = "65534 65534" ] && {GREP} x "$1" && ! touch {tmp_path}/no'
    tmp_path.chmod(0o755)
    resource = wanted(tmp_path / "a", "x\n", SH, "-c", script, "sh", "{}", **{"as": "65534"})
    assert blocked(resource) == {""}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs("dnsmasq")
def test_dnsmasq_is_asked_of_its_configuration(tmp_path: Path) -> None:
    dnsmasq = str(shutil.which("dnsmasq", path="/usr/sbin:/usr/bin"))
    check = [dnsmasq, "--test", "--conf-file={}"]
    assert blocked(wanted(tmp_path / "a", "no-resolv\n", *check)) == {""}
    (said,) = blocked(wanted(tmp_path / "names.conf", "no-resolv\nno-such-thing\n", *check))
    assert (
        said
        == f"{tmp_path}/names.conf would be refused by dnsmasq: dnsmasq: bad option at line 2 of {tmp_path}/names.conf"
    )
