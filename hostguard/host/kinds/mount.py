"""A tmpfs, mounted now. What mounts it at the next boot is a unit file, a resource of its own."""

from __future__ import annotations

import errno
import os
import re
from typing import Any, Dict, List, Sequence

from .. import store
from ..mountinfo import mounted, mounts
from ..plain_file import changeable
from ..program import run
from ..resource import ABSENT, ABSENT_HERE, VALUE, Difference, Observation, Resource, each, value

UNITS = {"k": 1024, "m": 1024**2, "g": 1024**3, "": 1}


def resource(
    control: str, path: str, size: int, mode: str, uid: str, gid: str, options: Sequence[str], **more: Any
) -> Resource:
    """A tmpfs; `size` in bytes, `uid` and `gid` as numbers or placeholders. Without swap where the kernel has it.

    `more`: `holds`, the files that belong there, and `fetches`, those of them that the agent writes: see dropped.py.
    """
    return {
        "id": "mount:{}".format(path),
        "kind": "mount",
        "control": control,
        "path": path,
        "options": list(options),
        "noswap": "${noswap}",
        "size": str(size),
        "mode": mode,
        "uid": uid,
        "gid": gid,
        **more,
    }


def read(resources: List[Resource]) -> Dict[str, Observation]:
    return {r["id"]: _read(r) for r in resources}


def _read(resource: Resource) -> Observation:
    path = resource["path"]
    if os.path.realpath(path) != path:
        # The kernel would mount at the end of the links, where nobody looks for it afterwards.
        return value({"type": "a path through a symbolic link to " + os.path.realpath(path)})
    above = changeable(path)
    if above:
        # Who may rename what is in it decides over which folder root mounts, and which one it gives away.
        return value({"type": "a path below {}, which another account may change".format(above)})
    found = mounted(path)
    if found is None:
        hidden = os.path.isdir(path) and bool(os.listdir(path))
        # The reason travels with the absence: mounting over files hides them, it does not remove them.
        return ABSENT_HERE._replace(reason="holds files" if hidden else "")
    return _settings(resource, found)


def _settings(resource: Resource, found: Dict[str, Any]) -> Observation:
    path = resource["path"]
    status = os.stat(path)
    settings = dict(option.partition("=")[::2] for option in found["options"])
    return value(
        {
            "type": found["type"],
            "options": sorted(set(every_option(resource)) & set(found["options"])),
            "size": str(size_of(settings.get("size", ""))),
            "mode": "{:04o}".format(status.st_mode & 0o7777),
            "uid": str(status.st_uid),
            "gid": str(status.st_gid),
            "more": has_access_list(path),
            "below": sorted({m["path"] for m in mounts() if m["path"].startswith(path + "/")}),
        }
    )


ACLS = ("system.posix_acl_access", "system.posix_acl_default")


def has_access_list(path: str) -> bool:
    """Whether an access list says more than the mode does (acl(5))."""
    try:
        return bool(set(os.listxattr(path, follow_symlinks=False)) & set(ACLS))
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:  # what can't be read is not known to be none
            raise
        return False  # a file system without any


def size_of(text: str) -> int:
    """A tmpfs size as the kernel prints it (`16384k`) in bytes; 0 where it has none."""
    match = re.fullmatch(r"(\d+)([kmg]?)", text)
    return int(match.group(1)) * UNITS[match.group(2)] if match else 0


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    path = resource["path"]
    if seen.state == ABSENT:
        blocked = ""
        if seen.reason:
            blocked = "{0} holds files that the mount would hide, not remove: move them away".format(path)
        return [Difference("mount", "not mounted" + (", holds files" if blocked else ""), wanted(resource), blocked)]
    if seen.state != VALUE:
        return []
    have = seen.value
    if have["type"] != "tmpfs":
        what = "{} is {}{}".format(path, "" if " " in have["type"] else "a mounted ", have["type"])
        advice = "unmount it"
        if " " in have["type"]:
            links = "symbolic link" in have["type"]
            advice = "name that in the policy" if links else "name one that is root's alone, as below /run"
        return [Difference("type", have["type"], "tmpfs", "{}: {}".format(what, advice))]
    found = []
    if have["below"]:
        blocked = "{} is mounted below {}, and what is in it may be on a disk: unmount it".format(
            have["below"][0], path
        )
        found.append(Difference("mounts below", ", ".join(have["below"]), "", blocked))
    if have["more"]:
        found.append(Difference("access list", "lets others in", "", "`setfacl -b {}` takes it away".format(path)))
    lacking = [o for o in options(resource) if o not in have["options"]]
    if lacking:
        found.append(Difference("options", ",".join(have["options"]), ",".join(options(resource))))
    for field in ("size", "mode", "uid", "gid"):
        if have[field] != resource[field]:
            found.append(Difference(field, have[field], resource[field]))
    return found


def options(resource: Resource) -> List[str]:
    return [option for option in ",".join(resource["options"]).split(",") if option]


def every_option(resource: Resource) -> List[str]:
    """With noswap where this kernel has it: Linux refuses to add it to a mounted tmpfs, and where there is no swap
    nothing lacks it. Whether the pages can reach a disk is a control of its own."""
    return [*options(resource), *resource.get("noswap", "").strip(",").split()]


def wanted(resource: Resource) -> str:
    return "tmpfs at {}, {}, size {}, mode {}, owner {}:{}".format(
        resource["path"], ",".join(every_option(resource)), *(resource[f] for f in ("size", "mode", "uid", "gid"))
    )


def seen_as(resource: Resource, seen: Observation) -> str:
    have = seen.value
    return "{} at {}, {}, size {}, mode {}, owner {}:{}".format(
        have["type"],
        resource["path"],
        ",".join(have["options"]),
        *(have[f] for f in ("size", "mode", "uid", "gid")),
    )


def place(resource: Resource) -> str:
    return str(resource["path"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    saved = {}
    for resource in resources:
        path: str = resource["path"]
        found = mounted(path)
        saved[resource["id"]] = {
            "path": path,
            "before": _settings(resource, found).value if found else None,
            "missing_parents": store.missing(path),
        }
    return saved


def as_before(_resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    if before["before"] is None or now["before"] is None:
        # A folder that was made for it is left where somebody keeps something in it.
        left = [folder for folder in before["missing_parents"] if os.path.isdir(folder) and not os.listdir(folder)]
        return before["before"] is now["before"] and not left
    fields = ("type", "size", "mode", "uid", "gid")
    return all(before["before"].get(field) == now["before"].get(field) for field in fields)


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    for resource in resources:
        path = resource["path"]
        if seen[resource["id"]].state == ABSENT:
            _make(path, every_option(resource), resource)
        else:
            _reshape(path, options(resource), resource)


def _make(path: str, wanted_options: List[str], settings: Dict[str, Any]) -> None:
    fields = ["{}={}".format(field, settings[field]) for field in ("size", "mode", "uid", "gid")]
    os.makedirs(path, mode=0o755, exist_ok=True)
    _mount(["-t", "tmpfs", "-o", ",".join(wanted_options + fields), "tmpfs", path])


def _reshape(path: str, wanted_options: List[str], settings: Dict[str, Any]) -> None:
    _mount(["-o", ",".join(["remount", *wanted_options, "size={}".format(settings["size"])]), path])
    os.chown(path, int(settings["uid"]), int(settings["gid"]))
    os.chmod(path, int(settings["mode"], 8))


def _mount(arguments: List[str]) -> None:
    run(["mount", *arguments])


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    each(resources, lambda resource: _put_back(resource, captured[resource["id"]]))


def _put_back(resource: Resource, saved: Dict[str, Any]) -> None:
    path, before = saved["path"], saved["before"]
    if before is not None and mounted(path) is None:
        _make(path, before["options"], before)
        return
    if before is not None:
        lost = [o for o in options(resource) if o not in before["options"] and o != "noswap"]
        _reshape(path, before["options"] + [o[2:] for o in lost], before)
        return
    if mounted(path) is not None:
        busy = run(["umount", path], check=False).returncode != 0
        if busy:  # a service holds a file open: out of sight now, gone when it lets go
            run(["umount", "--lazy", path])
    store.remove_folders(saved["missing_parents"])
