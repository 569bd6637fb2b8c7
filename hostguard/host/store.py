"""The generations of a host: one file per apply, with what it replaced."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import Any, Dict, Iterator, List, Optional

from .resource import HostError, Resource

FOLDER = "/var/lib/hostguard"
GENERATIONS = FOLDER + "/generations"
LOCK = FOLDER + "/lock"
PENDING = FOLDER + "/pending.json"
# While this file is there a boot loads no rules: those in BOOT_RULES are the ones that nobody has confirmed.
HOLD = FOLDER + "/hold-rules"
BOOT_RULES = "/etc/hostguard/egress"
BOOT_UNIT = "hostguard-egress.service"

WRITING = "writing"  # a transaction that is under way, or was cut short
UNCONFIRMED = "unconfirmed"
APPLIED = "applied"
ROLLED_BACK = "rolled back"
FAILED = "failed"
IN_FORCE = (UNCONFIRMED, APPLIED)

Record = Dict[str, Any]


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Hold the one right to change this host. Raises HostError at once where another hostguard has it."""
    os.makedirs(GENERATIONS, mode=0o700, exist_ok=True)
    os.chmod(FOLDER, 0o700)  # the records hold what other tools wrote, whatever its mode was
    with open(LOCK, "w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HostError("another hostguard is changing this host: wait for it ({})".format(LOCK)) from None
        yield


def records() -> List[Record]:
    """Every generation, oldest first."""
    return list(newest_first())[::-1]


def newest_first() -> Iterator[Record]:
    """One at a time: with a long allowlist a record has tens of megabytes, and most questions end at the newest."""
    for name in reversed(_names()):
        with open(os.path.join(GENERATIONS, name), encoding="utf-8") as file:
            yield json.load(file)


def _names() -> List[str]:
    try:
        return sorted(name for name in os.listdir(GENERATIONS) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    except PermissionError:
        raise HostError("{}: only root may read the generations: use sudo".format(GENERATIONS)) from None


def current() -> Optional[Record]:
    """The generation in force, None on a host as it was before hostguard."""
    return next((record for record in newest_first() if record["status"] in IN_FORCE), None)


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


def save(record: Record) -> None:
    _write(os.path.join(GENERATIONS, "{:06d}.json".format(record["number"])), record)


def new_record(bundle: Dict[str, Any]) -> Record:
    newest = next(newest_first(), None)
    return {
        "number": newest["number"] + 1 if newest else 1,
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "status": WRITING,
        "policy": bundle["policy"],
        "by": os.environ.get("SUDO_USER") or os.environ.get("USER") or "root",
    }


def pending() -> Optional[Dict[str, Any]]:
    try:
        with open(PENDING, encoding="utf-8") as file:
            found: Dict[str, Any] = json.load(file)
            return found
    except FileNotFoundError:
        return None


def set_pending(window: Optional[Dict[str, Any]]) -> None:
    if window is not None:
        _write(PENDING, window)
    else:
        remove(PENDING)


def remove(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _write(path: str, content: Dict[str, Any]) -> None:
    write_durably(path, json.dumps(content).encode(), 0o600)


def write_durably(path: str, content: bytes, mode: int) -> None:
    """On the disk before we go on: what a crash leaves must be enough to go back."""
    beside = path + ".new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
