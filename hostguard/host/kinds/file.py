"""A regular file with given content, mode and owner.

`check` is the command of the program that reads it, which tries what is wanted on a private copy (`{}`) and changes
nothing; `as` is the number of the account that it does so as. What it refuses is in the way, and nothing is written.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from typing import Any, Callable, Dict, List, Optional, Set

from .. import kept_file, store
from ..facts import account_of, group_of, in_container
from ..program import run
from ..resource import (
    ABSENT,
    ABSENT_HERE,
    VALUE,
    Difference,
    HostError,
    Observation,
    Resource,
    each,
    legible,
    not_applicable,
    not_running,
    value,
)


def resource(control: str, path: str, content: str, mode: str = "0644", **more: Any) -> Resource:
    """A file that root owns, with this whole content.

    `more`: `check`, a program's arguments that must accept it, `{}` for its copy, and `as`, the account that runs it;
    `module`, the kernel's module that the file has loaded; `makes`, the folders that systemd-tmpfiles makes of it, the
    innermost first; `speaks_for`, paths of others: it is not there while they are written, or go back, and comes only
    once all of them did.
    """
    identity = "file:{}".format(path)
    return dict(more, id=identity, kind="file", control=control, path=path, content=content, mode=mode)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    return {resource["id"]: _looked_at(resource, refused) for resource in resources}


def read_image(resources: List[Resource]) -> Dict[str, Observation]:
    """Of an image: its programs are not run. Whether it will run as a container, where a module is not its own to load,
    it does not tell."""
    seen = {resource["id"]: _looked_at(resource, lambda _: "") for resource in resources}
    absent = (r["id"] for r in resources if r.get("module") and seen[r["id"]].state == ABSENT)
    return dict(seen, **dict.fromkeys(absent, not_running()))


def _looked_at(resource: Resource, tried: Callable[[Resource], str]) -> Observation:
    if resource.get("module") and in_container():
        return not_applicable("the module {module} is the machine's to load, not this container's".format(**resource))
    seen = _read(resource["path"])
    if not differ(resource, seen):
        return seen
    # What is in the way travels with what was seen; where all is as wanted, nothing is.
    in_the_way = kept_file.stuck(resource["path"]) or tried(resource)
    if seen.state == ABSENT:
        return seen._replace(reason=in_the_way)
    return value(dict(seen.value, stuck=in_the_way))


CHECK_SECONDS, MOST_WORDS = 10, 400


def refused(resource: Resource) -> str:
    """Why its own program would refuse what is wanted, in that one's words; "" where it takes it, or where nobody but
    root could ask it."""
    account = resource.get("as", "")
    if "check" not in resource or (account and os.geteuid() not in (0, int(account))):
        return ""
    if not os.path.exists(resource["check"][0]):
        return "{} can't be tried: {} is not installed on this host".format(resource["path"], resource["check"][0])
    folder = tempfile.mkdtemp(prefix="hostguard-")
    try:
        copy = os.path.join(folder, os.path.basename(resource["path"]))  # some go by how a name ends
        with open(copy, "w", encoding="utf-8") as file:
            file.write(resource["content"])
        argv = [word.replace("{}", copy) for word in resource["check"]]
        # It may not see what is in root's environment.
        become = _become(account, copy)
        done = run(["env", "-i", "LC_ALL=C", *become, *argv], check=False, timeout=CHECK_SECONDS, ours=not become)
    except HostError as error:
        return "{} can't be tried: {}".format(resource["path"], error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if done.returncode == 0:
        return ""
    said = " ".join(legible(done.stderr + " " + done.stdout).replace(copy, resource["path"]).split())
    return "{} would be refused by {}: {}".format(
        resource["path"], os.path.basename(argv[0]), said[:MOST_WORDS] or "exit code {}".format(done.returncode)
    )


def _become(account: str, copy: str) -> List[str]:
    """The words that make a program another account's, for which the private copy is readable then."""
    if not account or int(account) == os.geteuid():
        return []
    group = str(pwd.getpwuid(int(account)).pw_gid)
    for path in (copy, os.path.dirname(copy)):
        os.chown(path, int(account), int(group))
    return ["setpriv", "--reuid=" + account, "--regid=" + group, "--clear-groups", "--no-new-privs"]


def _read(path: str) -> Observation:
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return value(
                {"type": kept_file.type_of(status.st_mode), "content": "", "mode": "", "owner": "", "group": ""}
            )
        with open(path, "rb") as file:
            content = file.read().decode("utf-8", "backslashreplace")
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT_HERE
    return value(
        {
            "type": "file",
            "content": content,
            "mode": "{:04o}".format(stat.S_IMODE(status.st_mode)),
            "owner": account_of(status.st_uid),
            "group": group_of(status.st_gid),
        }
    )


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state == ABSENT:
        return [Difference("content", "", resource["content"], seen.reason)]
    if seen.state != VALUE:
        return []
    have = seen.value
    if have["type"] != "file":
        blocked = "{} is {}: move it away".format(resource["path"], have["type"])
        blocked = blocked if "directory" in have["type"] else have.get("stuck", "")
        return [Difference("type", have["type"], "a regular file", blocked)]
    wanted = {"content": resource["content"], "mode": resource["mode"], "owner": "root", "group": "root"}
    return [
        Difference(key, have[key], want, have.get("stuck", "")) for key, want in wanted.items() if have[key] != want
    ]


def wanted(resource: Resource) -> str:
    return "{} as hostguard writes it".format(resource["path"])


def seen_as(resource: Resource, _seen: Observation) -> str:
    return str(resource["path"])


def setters(resource: Resource, _seen: Observation, fields: Set[str]) -> Dict[str, Optional[str]]:
    return dict.fromkeys(fields, str(resource["path"]))


def place(resource: Resource) -> str:
    return str(resource["path"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {r["id"]: dict(kept_file.snapshot(r["path"]), missing_makes=_missing(r.get("makes", []))) for r in resources}


def _missing(folders: List[str]) -> List[str]:
    return [folder for folder in folders if not os.path.lexists(folder)]


def as_before(_resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    return kept_file.is_as_before(before, now)


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    _invalidate(resources)
    for resource in _in_order(resources):
        kept_file.put(resource["path"], resource["content"].encode(), int(resource["mode"], 8), 0, 0)


def _in_order(resources: List[Resource]) -> List[Resource]:
    return sorted(resources, key=lambda r: bool(r.get("speaks_for")))


def _invalidate(resources: List[Resource]) -> None:
    """Away with what speaks for files that are about to change."""
    for resource in resources:
        if resource.get("speaks_for"):
            store.remove(resource["path"])


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    changed = {r["path"] for r in resources if _differs(r, captured[r["id"]])}
    _invalidate([r for r in resources if changed & {r["path"], *r.get("speaks_for", [])}])
    failed: Set[str] = set()

    def go_back(resource: Resource) -> None:
        if failed.intersection(resource.get("speaks_for", [])):
            raise HostError("{}: it goes back after the others".format(resource["path"]))
        try:
            kept_file.put_back(captured[resource["id"]])
        except BaseException:
            failed.add(resource["path"])
            raise

    try:
        each(_in_order(resources), go_back)
    finally:
        # Once more: of several generations, a folder may be one's and the file that still lay there another's.
        for saved in (captured[resource["id"]] for resource in resources):
            if saved["type"] == "absent":
                store.remove_folders(saved["missing_parents"])
            for folder in saved.get("missing_makes", []):
                kept_file.remove_within(folder)


def _differs(resource: Resource, saved: Dict[str, Any]) -> bool:
    try:
        return not as_before(resource, saved, kept_file.snapshot(resource["path"]))
    except (HostError, OSError):  # it may be anything
        return True
