"""The generations of a host: one file per apply, with what it replaced."""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, Dict, Iterator, List, Optional, Set

from .resource import HostError, NotRoot, Resource

FOLDER = "/var/lib/hostguard"
GENERATIONS = FOLDER + "/generations"
PENDING = FOLDER + "/pending.json"
# While this file is there a boot loads no rules: those in BOOT_RULES are the ones that nobody has confirmed.
HOLD = FOLDER + "/hold-rules"
BOOT_RULES = "/etc/hostguard/egress"
BOOT_UNIT = "hostguard-egress.service"

WRITING = "writing"  # a transaction that is under way, or was cut short
UNCONFIRMED = "unconfirmed"
APPLIED = "applied"
DONE = "done"  # a rollback that is over: the generations in its `gone` are rolled back
ROLLED_BACK = "rolled back"
FAILED = "failed"
IN_FORCE = (UNCONFIRMED, APPLIED)

Record = Dict[str, Any]
"""One transaction: what it `touched`, what was there `before`, and its `status`; what the generation in force then
`wanted`, and what was there before hostguard (`origins`). A rollback has `to`, the generation that it goes back to, and
`gone`, those that it undoes."""

HEAD = b'{"status": "'
HEAD_LENGTH = 40
"""Bytes in which a record says its status: written over in place, so that the last word needs no room on a disk."""


def records() -> List[Record]:
    """Every generation, oldest first."""
    return list(newest_first())[::-1]


def newest_first() -> Iterator[Record]:
    """One at a time: with a long allowlist a record has tens of megabytes, and most questions end at the newest."""
    gone: Set[int] = set()
    for name in reversed(_names()):
        path = os.path.join(GENERATIONS, name)
        try:
            with open(path, encoding="utf-8", newline="\n") as file:
                record: Record = json.load(file)
        except ValueError as error:
            raise HostError("{}: not readable ({}): this host's memory is damaged".format(path, error)) from None
        # The rollback's one word decides for all of them, whatever the crash left in theirs.
        if record["number"] in gone and record["status"] == APPLIED:
            record["status"] = ROLLED_BACK
        if record["status"] == DONE:
            gone.update(record["gone"])
        yield record


def _names() -> List[str]:
    try:
        return sorted(name for name in os.listdir(GENERATIONS) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    except PermissionError:
        raise NotRoot("{}: only root may read the generations".format(GENERATIONS)) from None


def current() -> Optional[Record]:
    """The generation in force, None on a host as it was before hostguard."""
    return next((record for record in newest_first() if record["status"] in IN_FORCE), None)


def in_force(before: Optional[int] = None) -> Optional[Record]:
    """The newest generation that was confirmed, of those before a number if so; None without one."""
    kept = (record for record in newest_first() if before is None or record["number"] < before)
    return next((record for record in kept if record["status"] == APPLIED), None)


def leftovers(previous: Optional[Record], resources: List[Resource], areas: Optional[List[str]]) -> List[Resource]:
    """What an earlier policy wanted and this one does not; a bundle of some areas says nothing of the others."""
    if previous is None:
        return []
    kept = {r["id"] for r in resources} | set(of_other_areas(previous, areas))
    return [r for identity, r in previous["wanted"].items() if identity not in kept and identity in previous["origins"]]


def of_other_areas(previous: Optional[Record], areas: Optional[List[str]]) -> Dict[str, Resource]:
    """What was wanted by areas that a bundle does not speak for."""
    if previous is None or areas is None:
        return {}
    return {i: r for i, r in previous["wanted"].items() if r["control"].partition(".")[0] not in areas}


def clear() -> None:
    """Take away what a write that was cut short has left beside its file. The caller holds the lock."""
    for folder in (FOLDER, GENERATIONS):
        for name in os.listdir(folder):
            if name.endswith(BESIDE):
                remove(os.path.join(folder, name))


def save(record: Record) -> None:
    rest = json.dumps({key: value for key, value in record.items() if key != "status"})
    write_durably(_path(record), _head(record["status"]) + rest[1:].encode(), 0o600)


def _path(record: Record) -> str:
    return os.path.join(GENERATIONS, "{:06d}.json".format(record["number"]))


def _head(status: str) -> bytes:
    return (HEAD + status.encode("ascii") + b'"').ljust(HEAD_LENGTH - 1) + b","


def finish(record: Record, status: str) -> None:
    """Give a record its next word, on the disk before we go on.

    Raises OSError; the record that is given has the word if whoever reads the file does.
    """
    with open(_path(record), "r+b", buffering=0) as file:
        head = file.read(HEAD_LENGTH)
        if head.startswith(HEAD) and head.endswith(b","):
            os.pwrite(file.fileno(), _head(status), 0)
            record["status"] = status
            os.fsync(file.fileno())
            return
    save(dict(record, status=status))  # one of an older hostguard
    record["status"] = status


def keep(record: Record) -> None:
    """The last word of a transaction that stays: until it is said the generation before is in force, or those that it
    undoes are."""
    word = DONE if "gone" in record else APPLIED
    try:
        finish(record, word)
    except OSError:
        # It is said to everybody, and only not known to be on the disk. A way back now would belie it, on a disk
        # that takes no other word. If the power goes, the disk has this word or the one before, and a boot heeds it.
        if record["status"] != word:
            raise
    if word == APPLIED:
        return
    for other in newest_first():
        if other["number"] in record["gone"]:
            with contextlib.suppress(OSError):  # the rollback's word decides
                finish(other, ROLLED_BACK)


def new_record(policy: Dict[str, str]) -> Record:
    newest = next(newest_first(), None)
    return {
        "number": newest["number"] + 1 if newest else 1,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "status": WRITING,
        "policy": policy,
        "by": os.environ.get("SUDO_USER") or os.environ.get("USER") or "root",
    }


def pending() -> Optional[Dict[str, Any]]:
    """The open window, None without one."""
    try:
        with open(PENDING, encoding="utf-8", newline="\n") as file:
            found: Dict[str, Any] = json.load(file)
            return found
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise HostError("{}: not readable ({}): remove it, and apply again".format(PENDING, error)) from None


def window_is_open() -> bool:
    return os.path.lexists(PENDING)


def set_pending(window: Optional[Dict[str, Any]]) -> None:
    if window is not None:
        _write(PENDING, window)
    else:
        remove(PENDING)


def remove(path: str) -> None:
    """Away, also after a power cut."""
    if os.path.lexists(path):
        os.unlink(path)
        sync(os.path.dirname(path))


def _write(path: str, content: Dict[str, Any]) -> None:
    write_durably(path, json.dumps(content).encode(), 0o600)


BESIDE = ".new"


def write_durably(path: str, content: bytes, mode: int) -> None:
    """On the disk before we go on: what a crash leaves must be enough to go back."""
    beside = path + BESIDE
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    sync(os.path.dirname(path))


def link_durably(path: str, to: str) -> None:
    if not os.path.lexists(path):
        os.symlink(to, path)
        sync(os.path.dirname(path))


def missing(folder: str) -> List[str]:
    """The folders that are not there on the way to this one, the innermost first."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    return missing


def make_folder(path: str, mode: int) -> None:
    """With those above it, on the disk before we go on."""
    if not os.path.isdir(path):
        make_folder(os.path.dirname(path), mode)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
        sync(os.path.dirname(path))


def remove_folders(folders: List[str]) -> None:
    """Those of the folders, the innermost first, that are there, and in which nobody else keeps something by now."""
    for folder in folders:
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            continue
        except OSError:
            break
        with contextlib.suppress(OSError):
            sync(os.path.dirname(folder))


def sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
