"""A file as it is on a disk, with all that gives it back: its mode, its owner, its times, its extended attributes.

It is replaced by a rename, but for one that is mounted there by itself, as podman and docker mount /etc/resolv.conf:
the kernel renames nothing over that, and it is written in place.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import os
import stat
import struct
from typing import Any, Callable, Dict, Optional, Tuple

from . import store
from .mountinfo import mounted
from .resource import HostError

GET_FLAGS = 0x80006601 | struct.calcsize("l") << 16  # FS_IOC_GETFLAGS (linux/fs.h)
FLAGS = {0x10: ("immutable", "-i"), 0x20: ("append-only", "-a")}
SAID = ("type", "content", "target", "mode", "uid", "gid")
# Access control lists, labels, capabilities and what users put there; the rest is the file system's own.
KEPT = ("system.posix_acl_access", "security.selinux", "security.capability", "user.", "trusted.")
NOT_KEPT = "trusted.overlay."


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
        raise HostError("{} is {}: move it away".format(path, type_of(status.st_mode)))
    return saved


def type_of(mode: int) -> str:
    return "a symbolic link" if stat.S_ISLNK(mode) else "a directory" if stat.S_ISDIR(mode) else "no regular file"


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


def is_as_before(before: Dict[str, Any], now: Dict[str, Any]) -> bool:
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
