"""Look at an image that is being built, from inside of it: what its files say, and nothing of the kernel that runs.

None of its programs is run: they are whoever's built it.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any, Dict, List, Optional

from . import facts
from .kinds import trait
from .resource import not_running, partition, placeholders, resolve, unreadable, why
from .snapshot import by_kind, read


def take(bundle: Dict[str, Any]) -> Dict[str, Any]:
    """As snapshot.take, of what can be told. This process must be in the image (chroot) and does not leave it."""
    facts.use_files_alone()
    known = facts.gather(placeholders(bundle["resources"]))
    resolved = [resolve(resource, known) for resource in bundle["resources"]]
    able, blocked = partition(resolved)
    seen = {resource["id"]: unreadable(resource["blocked"]) for resource in blocked}
    for kind, members in by_kind(able).items():
        how = trait(kind, "read_image")
        seen.update(read(how, members) if how else {r["id"]: not_running() for r in members})
    answers = {name: _answer(request) for name, request in bundle["evidence"].items()}
    return {
        "resources": resolved,
        "observations": {identity: list(observation) for identity, observation in seen.items()},
        "leftovers": None,
        "evidence": answers,
    }


def _answer(request: Dict[str, Any]) -> Dict[str, Any]:
    if request["collect"] != "openssl":
        return {"not_running": not_running().reason}
    try:
        return {"said": {"binary": _version(["/usr/bin/openssl"]), "library": _version(_libraries())}}
    except OSError as error:
        return {"unreadable": why(error, "openssl")}


def _libraries() -> List[str]:
    found = [path for folder in ("/usr/lib*", "/lib*") for deep in ("", "/*") for path in
             glob.glob(folder + deep + "/libcrypto.so.[0-9]*")]  # fmt: skip
    return sorted({os.path.realpath(path) for path in found})


def _version(paths: List[str]) -> Optional[str]:
    """OPENSSL_VERSION_TEXT as it was compiled into the first of these that holds one."""
    for path in paths:
        if os.path.exists(path):
            with open(path, "rb") as opened:
                match = re.search(
                    rb"OpenSSL [0-9]+\.[0-9]+\.[0-9]+[a-z0-9.+-]* +[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4}", opened.read()
                )
            if match:
                return match.group().decode("ascii")
    return None
