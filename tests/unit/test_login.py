"""What an agent logs in with, as the host writes it: its own account's, whole or not at all, and never told."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path
from typing import Any

import pytest

from hostguard.ansible.actions.login import misgiven_login
from hostguard.host import login
from hostguard.host.resource import HostError
from hostguard.policy.model import AgentAuth

pytestmark = pytest.mark.needs("account")

ME = next((each.pw_name for each in pwd.getpwall() if each.pw_uid == os.getuid()), "")
SECRET = "5ecret"  # noqa: S105 - the test's own
ANOTHER = "no-such-account"


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have stopped the agent; a unit test stops nobody."""
    found: list[list[str]] = []
    monkeypatch.setattr(login, "run", lambda argv, **_: found.append(argv))
    return found


def keep(path: Path, content: str | None, *, check: bool = False, spent: bool = False, account: str = ME) -> str:
    files = [{"path": str(path), "content": content, "spent": spent}]
    request: dict[str, Any] = {"do": "login", "account": account, "unit": "agent", "files": files, "check": check}
    return login.keep(request)[str(path)]


def test_it_is_written_once_for_its_account_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "secret-id"
    assert keep(path, SECRET, check=True) == "absent"
    assert not path.parent.exists()
    assert keep(path, SECRET) == "written"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (SECRET, 0o400)
    assert keep(path, SECRET) == "there"
    assert [each.name for each in path.parent.iterdir()] == ["secret-id"]


@pytest.mark.parametrize("before", ["", "another-value", "5ecre", "6ecret", "5ecret and more"])
def test_what_holds_something_else_is_replaced(tmp_path: Path, before: str) -> None:
    path = tmp_path / "secret-id"
    path.write_text(before)
    path.chmod(0o400)
    assert keep(path, SECRET, check=True) == "other"
    assert path.read_text() == before
    assert keep(path, SECRET) == "written"
    assert path.read_text() == SECRET


def test_what_others_may_read_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "secret-id"
    path.write_text(SECRET)
    path.chmod(0o440)
    assert keep(path, SECRET) == "written"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("kept")
    path = tmp_path / "secret-id"
    path.symlink_to(tmp_path / "elsewhere")
    assert keep(path, SECRET) == "written"
    assert not path.is_symlink()
    assert (tmp_path / "elsewhere").read_text() == "kept"


def test_a_look_tells_whether_it_is_there_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "role-id"
    assert keep(path, None) == "absent"
    path.write_text("whatever")
    assert keep(path, None) == "there"
    assert path.read_text() == "whatever"


def test_what_is_good_once_is_not_there_before_the_agent_was_stopped(tmp_path: Path, stopped: list[list[str]]) -> None:
    path = tmp_path / "own" / "secret-id"
    assert keep(path, SECRET, check=True, spent=True) == "absent"
    assert stopped == []
    assert keep(path, SECRET, spent=True) == "written"
    assert stopped == [["systemctl", "stop", "agent"]]
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_folder_of_somebody_else_s_is_not_its_own(stopped: list[list[str]]) -> None:
    somebody = next(each.pw_name for each in pwd.getpwall() if each.pw_uid not in (0, os.getuid()))
    with pytest.raises(HostError, match=f"/etc: found a folder of the account number 0, .* {somebody}'s own"):
        keep(Path("/etc/secret-id"), None, spent=True, account=somebody)
    assert stopped == []


def test_where_it_can_not_be_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="found a folder, expected a file"):
        keep(tmp_path, SECRET)
    with pytest.raises(HostError, match=f"there is no account {ANOTHER}"):
        keep(tmp_path / "secret-id", SECRET, account=ANOTHER)


NOTHING = {"role_id": "", "secret_id": "", "secret_id_command": []}
APPROLE = {"method": "approle", "role_id": "/a/role-id", "secret_id": "/a/secret-id"}
CERT = {"method": "cert", "certificate": "/a/pem", "key": "/a/key"}


@pytest.mark.parametrize(
    ("given", "auth", "said"),
    [
        ({}, APPROLE, []),
        ({}, CERT, []),
        ({"role_id": "r", "secret_id": "s"}, APPROLE, []),
        ({"role_id": "r", "secret_id_command": ["bao"]}, APPROLE, []),
        ({"secret_id": "s", "secret_id_command": ["bao"]}, APPROLE, ["secret_id_command: found one beside secret_id"]),
        ({"role_id": "r", "secret_id": "s"}, CERT, ["role_id: found one, expected none", "secret_id: found one"]),
    ],
)
def test_a_login_is_one_and_of_the_policy_s_method(
    given: dict[str, Any], auth: dict[str, str], said: list[str]
) -> None:
    found = list(misgiven_login({**NOTHING, **given}, AgentAuth.model_validate(auth), str))
    assert len(found) == len(said)
    assert all(each.startswith(word) for each, word in zip(found, said, strict=True))
