"""The limit that PAM sessions get: the last line of limits.conf and limits.d/*.conf that sets it (limits.conf(5)).

It has no writing of its own: the file that sets it is a resource beside it, and here is seen whether it wins.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, NamedTuple

from ..resource import VALUE, Difference, Observation, Resource, unreadable, value

FOLDER = "/etc/security/limits.d"
BASE = "/etc/security/limits.conf"
KINDS = {"soft": ("soft",), "hard": ("hard",), "-": ("soft", "hard")}


class Line(NamedTuple):
    domain: str
    kind: str
    item: str
    limit: str
    at: str


def parse(text: str, path: str) -> List[Line]:
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        # As pam_limits reads it: four fields of a line and whatever follows, type and item in any case.
        fields = line.partition("#")[0].split()[:4]
        if len(fields) == 4 and fields[1].lower() in KINDS:
            found += [
                Line(fields[0], kind, fields[2].lower(), fields[3], "{}:{}".format(path, number))
                for kind in KINDS[fields[1].lower()]
            ]
    return found


def configuration() -> List[Line]:
    paths = [BASE] if os.path.exists(BASE) else []
    if os.path.isdir(FOLDER):
        paths += [os.path.join(FOLDER, name) for name in sorted(os.listdir(FOLDER)) if name.endswith(".conf")]
    found = []
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            found += parse(file.read(), path)
    return found


def read(resources: List[Resource]) -> Dict[str, Observation]:
    try:
        lines = configuration()
    except OSError as error:
        return {r["id"]: unreadable("{}: {}".format(error.filename, error.strerror)) for r in resources}
    seen = {}
    for resource in resources:
        won: Dict[str, Any] = {"others": []}
        for line in lines:
            if line.item != resource["item"]:
                continue
            if line.domain == resource["domain"]:
                won[line.kind] = {"limit": line.limit, "at": line.at}
            elif resource["domain"] == "*" and line.domain != "root" and not enough(line.limit, resource["limit"]):
                # An account's own line, or its group's, beats `*` wherever it stands.
                won["others"].append("{} {} {} ({})".format(line.domain, line.kind, line.limit, line.at))
        seen[resource["id"]] = value(won)
    return seen


def enough(limit: str, want: int) -> bool:
    return limit in ("unlimited", "infinity", "-1") or (limit.isdigit() and int(limit) >= want)


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    found = []
    for kind in ("soft", "hard"):
        have = seen.value.get(kind)
        if have is None:
            found.append(Difference(kind, "unset", "≥ {}".format(resource["limit"])))
        elif not enough(have["limit"], resource["limit"]):
            later = os.path.basename(have["at"].rpartition(":")[0]) > os.path.basename(resource["file"])
            later = later and have["at"].startswith(FOLDER)
            blocked = "{} comes after {}: remove that line".format(have["at"], resource["file"]) if later else ""
            found.append(
                Difference(
                    kind,
                    "{} ({})".format(have["limit"], have["at"]),
                    "≥ {}".format(resource["limit"]),
                    blocked,
                )
            )
    for other in seen.value.get("others", []):
        blocked = "{} beats `*` with less than {}: remove that line".format(other, resource["limit"])
        found.append(Difference("account", other, "≥ {}".format(resource["limit"]), blocked))
    return found


def wanted(resource: Resource) -> str:
    return "{} {} ≥ {}".format(resource["domain"], resource["item"], resource["limit"])


def seen_as(resource: Resource, seen: Observation) -> str:
    limits = ", ".join(
        "{} {}".format(kind, seen.value[kind]["limit"]) for kind in ("hard", "soft") if kind in seen.value
    )
    return "{} {} {}".format(resource["domain"], resource["item"], limits or "unset")


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {r["id"]: None for r in resources}


def write(_resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    """Nothing: its file is written as a file."""


def restore(_resources: List[Resource], _captured: Dict[str, Any]) -> None:
    """Nothing: its file goes back as a file."""
