"""A regular file with given content, mode and owner.

It is replaced by a rename, but for one that is mounted there by itself, as podman and docker mount /etc/resolv.conf:
the kernel renames nothing over that, and it is written in place.

`check` is the command of the program that reads it, which tries what is wanted on a private copy (`{}`) and changes
nothing; `as` is the number of the account that it does so as. What it refuses is in the way, and nothing is written.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import os
import pwd
import shutil
import stat
import struct
import tempfile
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from .. import store
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
from .mount import mounted

GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16  # FS_IOC_GETFLAGS (linux/fs.h)
SAID = ("type", "content", "target", "mode", "uid", "gid")
FLAGS = {0x10: ("immutable", "-i"), 0x20: ("append-only", "-a")}


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
    in_the_way = stuck(resource["path"]) or tried(resource)
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


def stuck(path: str) -> str:
    """Why not even root could write `path`, and what to do; "" where root could."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        by_itself = mounted(path)
    except FileNotFoundError:
        by_itself = None  # an image that is only read has no /proc
    for place in [path] if by_itself else [path, folder]:
        try:
            if stat.S_IFMT(os.lstat(place).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
                continue
            descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError:
            continue  # not there, or not ours to ask
        try:
            if os.fstatvfs(descriptor).f_flag & os.ST_RDONLY:
                return "{} is on a file system that is mounted read-only: mount it for writing".format(place)
            with contextlib.suppress(OSError):  # a file system without such flags
                found = struct.unpack("i", fcntl.ioctl(descriptor, GET_FLAGS, bytes(8))[:4])[0]
                for flag, (name, letter) in FLAGS.items():
                    if found & flag:
                        return "{} is {}, and can't be replaced: `chattr {} {}`".format(place, name, letter, place)
        finally:
            os.close(descriptor)
    return ""


def _read(path: str) -> Observation:
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            return value({"type": _type(status.st_mode), "content": "", "mode": "", "owner": "", "group": ""})
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


def _type(mode: int) -> str:
    return "a symbolic link" if stat.S_ISLNK(mode) else "a directory" if stat.S_ISDIR(mode) else "no regular file"


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
    return {r["id"]: dict(snapshot(r["path"]), missing_makes=_missing(r.get("makes", []))) for r in resources}


def _missing(folders: List[str]) -> List[str]:
    return [folder for folder in folders if not os.path.lexists(folder)]


def as_before(_resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    """Whether a path is what it was, with nothing of ours beside it. A folder that was made for it is left where
    somebody keeps something in it."""
    made = before["missing_parents"] + before.get("missing_makes", [])
    left = [folder for folder in made if os.path.isdir(folder) and not os.listdir(folder)]
    left += [now["beside"]] if "beside" in now else []
    return not left and _is_same(before, now) and _changed(before) == _changed(now)


def _is_same(before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    return all(before.get(key) == now.get(key) for key in SAID) and all(
        before[key] == now.get(key)
        for key in ("attributes", "mounted")
        if key in before  # not of an older record
    )


def _changed(saved: Dict[str, Any]) -> Optional[int]:
    """When a file was written last, in nanoseconds; None for what is no file."""
    return saved["times"][1] if saved["type"] == "file" else None


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    _invalidate(resources)
    for resource in _in_order(resources):
        put(resource["path"], resource["content"].encode(), int(resource["mode"], 8), 0, 0)


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
            put_back(captured[resource["id"]])
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
                remove_within(folder)


def _differs(resource: Resource, saved: Dict[str, Any]) -> bool:
    try:
        return not as_before(resource, saved, snapshot(resource["path"]))
    except (HostError, OSError):  # it may be anything
        return True


def snapshot(path: str) -> Dict[str, Any]:
    """All that `put_back` needs to make `path` what it is now, as JSON."""
    saved: Dict[str, Any] = {"path": path, "type": "absent", "missing_parents": store.missing(os.path.dirname(path))}
    if os.path.lexists(_beside(path)):  # of a write that was cut short, where nothing could be removed
        saved["beside"] = _beside(path)
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return saved
    saved.update(mode=stat.S_IMODE(status.st_mode), uid=status.st_uid, gid=status.st_gid)
    saved["times"] = [status.st_atime_ns, status.st_mtime_ns]
    saved["mounted"] = mounted(path) is not None
    if stat.S_ISLNK(status.st_mode):
        saved.update(type="link", target=os.readlink(path))
    elif stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            saved.update(type="file", content=base64.b64encode(file.read()).decode("ascii"))
            saved["attributes"] = _attributes(file.fileno())
    else:
        raise HostError("{} is {}: move it away".format(path, _type(status.st_mode)))
    return saved


# Access control lists, labels, capabilities and what users put there; the rest is the file system's own.
KEPT = ("system.posix_acl_access", "security.selinux", "security.capability", "user.", "trusted.")
NOT_KEPT = "trusted.overlay."


def _attributes(descriptor: int) -> Dict[str, str]:
    """The extended attributes of a file (xattr(7)), in base64."""
    try:
        names = [name for name in os.listxattr(descriptor) if name.startswith(KEPT)]
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        return {}  # a file system without any
    kept = [name for name in names if not name.startswith(NOT_KEPT)]
    return {name: base64.b64encode(os.getxattr(descriptor, name)).decode("ascii") for name in kept}


def content_of(saved: Dict[str, Any]) -> str:
    """Of a file that was captured; "" where there was none."""
    return base64.b64decode(saved.get("content", "")).decode("utf-8", "backslashreplace")


def put_back(saved: Dict[str, Any]) -> None:
    """Make a path what `snapshot` saw, down to its times, and remove the folders that were made for it.

    What is as it was is not touched: it may be what can't be (an immutable file), and all is well then.
    """
    path = saved["path"]
    if os.path.lexists(_beside(path)):  # of a write that was cut short
        os.unlink(_beside(path))
    now = snapshot(path)
    if "mounted" in saved and now.get("mounted", saved["mounted"]) != saved["mounted"]:
        # What is seen there is another file than the one that was replaced.
        said = "{0} is a mount of its own by now: `umount {0}`" if now["mounted"] else "{} was a mount, and is none now"
        raise HostError(said.format(path))
    if not _is_same(saved, now):
        if saved["type"] == "file":
            content, times = base64.b64decode(saved["content"]), (saved["times"][0], saved["times"][1])
            put(path, content, saved["mode"], saved["uid"], saved["gid"], times, saved.get("attributes", {}))
        elif saved["type"] == "link":
            _replace(path, lambda beside: _link(beside, saved))
        else:
            os.unlink(path)
            store.sync(os.path.dirname(path))
    elif _changed(now) != _changed(saved):
        os.utime(path, ns=(saved["times"][0], saved["times"][1]))
    if saved["type"] == "absent":
        store.remove_folders(saved["missing_parents"])


def _link(path: str, saved: Dict[str, Any]) -> None:
    os.symlink(saved["target"], path)
    os.lchown(path, saved["uid"], saved["gid"])


def remove_within(path: str) -> None:
    """A file, or a folder in which nothing is, where its folder is an account's: no link that this one put there is
    followed. Raises OSError, but not where there is none."""
    folder, name = os.path.split(path)
    try:
        within = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):  # a link is no folder
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISDIR(os.lstat(name, dir_fd=within).st_mode):
                with contextlib.suppress(OSError):  # somebody keeps something there
                    os.rmdir(name, dir_fd=within)
            else:
                os.unlink(name, dir_fd=within)
    finally:
        os.close(within)


def put(
    path: str,
    content: bytes,
    mode: int,
    uid: int,
    gid: int,
    times: Optional[Tuple[int, int]] = None,
    attributes: Optional[Dict[str, str]] = None,
) -> None:
    """A reader sees the old file or the new one, a power cut too; but not of one that is mounted there by itself. What
    fails leaves nothing behind. `times`: of the last look and the last change, in nanoseconds; now if left out.
    `attributes`: extended ones, in base64."""
    made = store.missing(os.path.dirname(path))

    def fill(descriptor: int) -> None:
        _fill(descriptor, content, mode, uid, gid, times, attributes or {})

    try:
        for folder in reversed(made):
            os.mkdir(folder, 0o755)
            store.sync(os.path.dirname(folder))
        if mounted(path):
            fill(os.open(path, os.O_WRONLY | os.O_NOFOLLOW))
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            _replace(path, lambda beside: fill(os.open(beside, flags, 0o600)))
    except BaseException:
        store.remove_folders(made)
        raise


def _fill(
    descriptor: int,
    content: bytes,
    mode: int,
    uid: int,
    gid: int,
    times: Optional[Tuple[int, int]],
    attributes: Dict[str, str],
) -> None:
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.truncate()
        os.fchmod(file.fileno(), mode)
        os.fchown(file.fileno(), uid, gid)
        for name, content_ in attributes.items():
            os.setxattr(file.fileno(), name, base64.b64decode(content_))
        file.flush()
        if times:  # before it is in its place: there it has all that it had, whatever fails from then on
            os.utime(file.fileno(), ns=times)
        os.fsync(file.fileno())


def _replace(path: str, make: Callable[[str], None]) -> None:
    """Make it beside, and rename it over."""
    beside = _beside(path)
    try:
        if os.path.lexists(beside):
            os.unlink(beside)
        make(beside)
        os.rename(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise
    store.sync(os.path.dirname(path))


def _beside(path: str) -> str:
    folder, name = os.path.split(path)
    return os.path.join(folder, ".{}.hostguard".format(name))
