"""The machine and its kernel: CPUs, OpenSSL, clock, swap."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Any

from .. import proc
from ..children import aside
from ..program import find, run
from ..resource import HostError, NotRoot
from . import Request
from .files import text


def uname(_request: Request) -> Any:
    return list(os.uname())


def cpus(_request: Request) -> Any:
    return os.sysconf("SC_NPROCESSORS_ONLN")


def openssl(_request: Request) -> Any:
    """The version in the words of the binary, and in those of the library that programs load."""
    binary = run(["openssl", "version"]).stdout.strip() if find("openssl") else None
    library = None
    for candidate in ("libcrypto.so.3", "libcrypto.so.1.1", "libcrypto.so.1.0.0", "libcrypto.so.10"):
        try:
            version = ctypes.CDLL(candidate).OpenSSL_version
        except (OSError, AttributeError):
            continue
        version.restype = ctypes.c_char_p
        library = version(0).decode("ascii", "replace")
        break
    return {"binary": binary, "library": library}


@aside
def stale_libraries(request: Request) -> Any:
    """Processes that map a file whose name holds one of `names` and that was deleted since."""
    found = []
    for pid in proc.pids():
        try:
            maps = proc.folder(pid) + "/maps"
            with open(maps, encoding="utf-8", errors="replace", newline="\n") as file:
                paths = {
                    line.split(None, 5)[5].strip() for line in file if any(name in line for name in request["names"])
                }
        except PermissionError:
            raise HostError("/proc/{}/maps: only root may read it".format(pid)) from None
        except (OSError, IndexError):
            continue
        for path in sorted(p for p in paths if p.endswith("(deleted)")):
            found.append({"pid": pid, "command": proc.command(pid), "path": path})
    return found


def adjtimex(_request: Request) -> Any:
    """The kernel's clock, whatever daemon keeps it: return code, status bits, largest and estimated error in µs.

    struct timex (linux/timex.h) starts with `modes` (int, padded to a long), offset, freq, maxerror, esterror,
    and `status` (int); modes 0 only reads. 512 bytes are more than any architecture's struct.
    """
    buffer = ctypes.create_string_buffer(512)
    code = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    if code < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    _, _, _, maximum, estimated, status = struct.unpack_from("@llllli", buffer.raw)
    return {"code": code, "status": status, "maxerror": maximum, "esterror": estimated}


def swap(_request: Request) -> Any:
    """/proc/swaps, and where each of its devices ends: "encrypted", "memory" (zram), or "" where it is a disk's."""
    with open("/proc/swaps", encoding="utf-8", newline="\n") as file:
        said = file.read()
    names = [line.split()[0] for line in said.splitlines()[1:]]
    return {"swaps": said, "kinds": {name: _ends_in(_device(name)) for name in names}}


def _device(name: str) -> str:
    """A file may be called like a device: it is none."""
    real = os.path.realpath(name)
    return os.path.basename(real) if os.path.dirname(real) == "/dev" else ""


def _ends_in(device: str, blocks: str = "/sys/class/block") -> str:
    """dm-crypt on the way down settles it, also below LVM, as installers set it up; every way down must have it."""
    if not device:
        return ""
    folder = os.path.join(blocks, device)
    uuid = text({"path": folder + "/dm/uuid"}) or ""
    if uuid.startswith("CRYPT-"):
        return "encrypted"
    if device.startswith("zram"):
        # A zram with a backing device writes its pages to that one.
        backing = (text({"path": folder + "/backing_dev"}) or "none").strip()
        return "memory" if backing == "none" else ""
    below = os.listdir(folder + "/slaves") if os.path.isdir(folder + "/slaves") else []
    ends = {_ends_in(each, blocks) for each in below}
    return ends.pop() if len(ends) == 1 else ""


MOST_LINES = 1000


def kernel_log(request: Request) -> Any:
    """The kernel's lines of the last `seconds` that `pattern` finds (a regular expression), the last ones of many; None
    where there is no journal."""
    if find("journalctl") is None:
        return None
    if os.geteuid() != 0:
        raise NotRoot("only root may read the kernel's journal")
    since = "-{}s".format(int(request["seconds"]))
    argv = ["journalctl", "-k", "-q", "-o", "cat", "--no-pager", "--since", since, "--grep", request["pattern"], "-n"]
    return run([*argv, str(MOST_LINES)], check=False, timeout=20).stdout.splitlines()
