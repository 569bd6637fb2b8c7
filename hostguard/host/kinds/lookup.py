"""A file that sends every lookup of the host to its own resolver: written once that runs, and put back before it stops.

The names in `asked` are looked up then, so that their addresses are known when the rules come.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Any, Dict, List

from ..resource import Observation, Resource
from . import file
from .file import capture, differ, read, restore, seen_as, wanted

__all__ = ["capture", "differ", "read", "restore", "seen_as", "wanted", "write"]

SECONDS = 3.0
"""How long the answers are waited for: a connection whose name comes later is cut until then."""
AT_ONCE = 32


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    file.write(resources, seen)
    names = [name for resource in resources for name in resource["asked"]]
    askers = [threading.Thread(target=_ask, args=(names[at::AT_ONCE],), daemon=True) for at in range(AT_ONCE)]
    end = time.monotonic() + SECONDS
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(max(0.0, end - time.monotonic()))


def _ask(names: List[str]) -> Any:
    for name in names:
        with contextlib.suppress(OSError):  # one that nobody knows now may be known when it is needed
            socket.getaddrinfo(name, None)
