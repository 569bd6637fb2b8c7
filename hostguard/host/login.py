"""What an agent logs in with: files that its account alone may read. What they hold is told to nobody."""

from __future__ import annotations

import os
import pwd
import stat
from typing import Any, Dict

from . import store
from .kept_file import put
from .plain_file import changeable, opened
from .program import run
from .resource import HostError

MODE, STOP_SECONDS = 0o400, 100
THERE, ABSENT, OTHER, WRITTEN = "there", "absent", "other", "written"

Wanted = Dict[str, Any]
"""A file: its `path`; its `content`, None where only a look is asked for; `spent`, whether it is good once, and the
agent removes it: its folder must be the account's own then."""


def keep(request: Dict[str, Any]) -> Dict[str, str]:
    """By path what is there, or what was done: nothing with `check`. `unit` is the agent's."""
    try:
        account = pwd.getpwnam(request["account"])
    except KeyError:
        raise HostError("there is no account {}".format(request["account"])) from None
    found = {wanted["path"]: _seen(wanted, account) for wanted in request["files"]}
    if request["check"]:
        return found
    for wanted in request["files"]:
        if wanted["content"] is not None and found[wanted["path"]] != THERE:
            if wanted["spent"]:
                # It would take this one now, and nothing would be left for it once it is started anew.
                run(["systemctl", "stop", request["unit"]], check=False, timeout=STOP_SECONDS)
            _write(wanted, account)
            found[wanted["path"]] = WRITTEN
    return found


def _seen(wanted: Wanted, account: pwd.struct_passwd) -> str:
    """A file that is not asked to hold anything is there, whatever it holds. Raises HostError where it can't be."""
    folder = os.path.dirname(wanted["path"])
    above = changeable(folder)
    if above:
        said = "{}: another account may put something else in its way, in {}: name a file below what is root's alone"
        raise HostError(said.format(wanted["path"], above))
    if wanted["spent"]:
        _look_at_folder(folder, account)
    try:
        status = os.lstat(wanted["path"])
        if stat.S_ISDIR(status.st_mode):
            raise HostError("{}: found a folder, expected a file or nothing".format(wanted["path"]))
        if wanted["content"] is None:
            return THERE
        if not stat.S_ISREG(status.st_mode) or status.st_size > len(wanted["content"]):
            return OTHER
        with opened(wanted["path"]) as file_there:
            same = file_there.read() == wanted["content"].encode()
    except FileNotFoundError:
        return ABSENT
    return THERE if same and (stat.S_IMODE(status.st_mode), status.st_uid) == (MODE, account.pw_uid) else OTHER


def _look_at_folder(folder: str, account: pwd.struct_passwd) -> None:
    try:
        owner = os.stat(folder).st_uid
    except FileNotFoundError:
        return
    if owner != account.pw_uid:
        raise HostError(
            "{}: found a folder of the account number {}, expected one of {}'s own: the agent removes from it what it "
            "has read. Name a file in another folder, which is made".format(folder, owner, account.pw_name)
        )


def _write(wanted: Wanted, account: pwd.struct_passwd) -> None:
    folder = os.path.dirname(wanted["path"])
    if wanted["spent"] and not os.path.isdir(folder):
        store.make_folder(os.path.dirname(folder), 0o755)
        os.mkdir(folder, 0o700)  # what is above is root's alone (_seen): nobody else puts another there
        os.chown(folder, account.pw_uid, account.pw_gid)
    # Its mode and owner are set while it is open: the account may put what it likes into its own folder.
    put(wanted["path"], wanted["content"].encode(), MODE, account.pw_uid, account.pw_gid)
