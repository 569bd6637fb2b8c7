"""Running programs: by their names, and by what they have open."""

from __future__ import annotations

import os
import re
from typing import Any, Dict, List

from .. import proc
from ..children import aside
from ..facts import account_of
from ..resource import HostError
from ..whose import describe
from . import Request

MOST_FULL = 50
"""So many processes are told of, the fullest first."""


@aside
def processes(request: Request) -> Any:
    """{name: [arguments, …]} of the processes with these `names` that see the network as we do: a container's own
    resolver is none of the host's. Of the arguments those that `arguments`, a regular expression, is for."""
    found: Dict[str, List[List[str]]] = {}
    for pid in proc.pids():
        name = proc.command(pid)
        if name not in request["names"]:
            continue
        try:
            if os.readlink(proc.folder(pid) + "/ns/net") != os.readlink("/proc/self/ns/net"):
                continue
            words = [word for word in proc.arguments(pid) if re.fullmatch(request["arguments"], word)]
            found.setdefault(name, []).append(words)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        except PermissionError:
            if os.path.exists("/proc/{}".format(pid)):  # else it was ending: nobody may look then, not even root
                raise
    return found


@aside
def open_files(request: Request) -> Any:
    """Every process is counted; `full` are those with more files open than `percent` of their soft limit."""
    counted, full = 0, []
    for pid in proc.pids():
        try:
            files, soft = proc.files_open(pid), proc.soft_limit(pid, proc.FILES)
            if files * 100 > soft * request["percent"]:
                full.append({"files": files, "soft": soft, "account": _account(pid), **_who(pid)})
        except PermissionError:
            raise HostError("/proc/{}/fd: only root may read it".format(pid)) from None
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        counted += 1
    full.sort(key=lambda each: -each["files"] / max(1, each["soft"]))
    return {"counted": counted, "full": full[:MOST_FULL]}


def _account(pid: int) -> str:
    return account_of(os.stat("/proc/{}".format(pid)).st_uid)


def _who(pid: int) -> Dict[str, Any]:
    found = describe(pid)
    return {"pid": pid, "command": found.get("command", "?"), "unit": found.get("unit", "")}
