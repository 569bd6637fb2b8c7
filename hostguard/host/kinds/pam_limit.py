"""The limit that PAM sessions get: the last line of limits.conf and limits.d/*.conf that sets it (limits.conf(5)).

It has no writing of its own: the file that sets it is a resource beside it, and here is seen whether it wins.
"""

from __future__ import annotations

import glob
import os
import re
from typing import Any, Dict, List, NamedTuple, Optional, Set

from ..resource import VALUE, Difference, Observation, Resource, value

FOLDER = "/etc/security/limits.d"
BASE = "/etc/security/limits.conf"
STACKS = "/etc/pam.d"
MODULE = "pam_limits.so"
EXEMPT = "exempt"
"""`envoy -`: none of the limits holds for the account or group, whichever line stands last."""
KINDS = {"soft": ("soft",), "hard": ("hard",), "-": ("soft", "hard")}


class Line(NamedTuple):
    domain: str
    kind: str
    item: str
    limit: str
    at: str


def parse(text: str, path: str) -> List[Line]:
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        # As pam_limits reads it: four fields of a line and whatever follows, type and item in any case.
        fields = line.partition("#")[0].split()[:4]
        if len(fields) == 2 and fields[1] == "-":
            found.append(Line(fields[0], EXEMPT, "", EXEMPT, "{}:{}".format(path, number)))
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
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            found += parse(file.read(), path)
    return found


def passed_by() -> List[str]:
    """Why sessions get other limits than those of the files, or none: in PAM's own files."""
    if not os.path.isdir(STACKS):
        return []
    stacks = {name: _session(name) for name in sorted(os.listdir(STACKS)) if not name.endswith("~")}
    found = []
    for name, modules in stacks.items():
        path = os.path.join(STACKS, name)
        if any(words[1] == MODULE and any(word.startswith("conf=") for word in words) for words in modules):
            found.append("{} names other files of limits than these".format(path))
    for name in OF_SESSIONS:
        if name in stacks:
            found += _passed_over(os.path.join(STACKS, name), stacks[name])
    if os.path.isfile(SSHD) and (_of_sshd(SSHD, "usepam") or "no").lower() != "yes":
        found.append("{} does not say UsePAM yes, and a session over SSH gets none of these limits".format(SSHD))
    return found


OF_SESSIONS = ("sshd", "su", "cron", "crond", "login")


def _passed_over(path: str, modules: List[List[str]]) -> List[str]:
    """Whether a line before pam_limits may end the session's stack, or jump over it (pam.conf(5))."""
    at = next((number for number, words in enumerate(modules) if words[1] == MODULE), None)
    if at is None:
        return ["{} has no {} in its session".format(path, MODULE)]
    for number, (control, module, *_) in enumerate(modules[:at]):
        jumps = [int(word) for word in re.findall(r"(?:success|default)=([0-9]+)", control)]
        if control == "sufficient" or "=done" in control or any(number + jump >= at for jump in jumps):
            return ["{} has {} {} before {}, which may pass it over".format(path, control, module, MODULE)]
    return []


SSHD = "/etc/ssh/sshd_config"


def _of_sshd(path: str, keyword: str, depth: int = 0) -> str:
    """The value that sshd takes of a keyword outside of Match, "" for none: the first one wins, in the order of the
    lines and of what they include (sshd_config(5))."""
    try:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
            lines = file.read().split("\n")
    except OSError:
        return ""
    for line in lines:
        words = line.strip().replace("=", " ", 1).replace('"', " ").split()
        if not words or words[0].startswith("#"):
            continue
        name = words[0].lower()
        if name == "match":
            return ""  # to the end of this file; that no UsePAM may stand there is sshd's own rule
        if name == keyword and len(words) > 1:
            return words[1]
        for pattern in words[1:] if name == "include" and depth < DEEPEST else []:
            for included in sorted(glob.glob(os.path.join(os.path.dirname(SSHD), pattern))):
                found = _of_sshd(included, keyword, depth + 1)
                if found:
                    return found
    return ""


def _session(name: str, depth: int = 0) -> List[List[str]]:
    """The control, module and arguments of a service's session, line by line, with the files that it includes."""
    path = os.path.join(STACKS, name)
    if depth > DEEPEST or not os.path.isfile(path):
        return []
    found = []
    with open(path, encoding="utf-8", errors="replace", newline="\n") as file:
        for line in file:
            # A control in brackets has blanks within; a `-` before the type is for modules that may be missing.
            words = re.sub(r"\[[^]]*\]", _in_a_word, line.partition("#")[0]).split()
            if len(words) == 2 and words[0] == "@include":
                found += _session(words[1], depth + 1)
            elif len(words) > 2 and words[0].lstrip("-").lower() == "session":
                included = words[1] in ("include", "substack")
                alone = [[words[1].lower(), os.path.basename(words[2]), *words[3:]]]
                found += _session(words[2], depth + 1) if included else alone
    return found


def _in_a_word(control: "re.Match[str]") -> str:
    return ",".join(control[0].split())


DEEPEST = 8


def resource(control: str, domain: str, item: str, limit: int, path: str) -> Resource:
    """A limit of sessions that is at least `limit`; hostguard's own line stands in the file `path`."""
    return {
        "id": "pam:{}:{}".format(domain, item),
        "kind": "pam_limit",
        "control": control,
        "domain": domain,
        "item": item,
        "limit": limit,
        "file": path,
    }


def read(resources: List[Resource]) -> Dict[str, Observation]:
    lines, passed = configuration(), passed_by()
    seen = {}
    for resource in resources:
        won: Dict[str, Any] = {"others": [], "passed": passed}
        for line in lines:
            if line.kind == EXEMPT and (line.domain == "root") == (resource["domain"] == "root"):
                won["others"].append("{} - ({})".format(line.domain, line.at))
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
    return limit in ("unlimited", "infinity", "-1") or (limit.isdecimal() and int(limit) >= want)


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
        blocked = "{} beats `{}` with less than {}: remove that line".format(
            other, resource["domain"], resource["limit"]
        )
        found.append(Difference("account", other, "≥ {}".format(resource["limit"]), blocked))
    for passed in seen.value.get("passed", []):
        found.append(Difference("session", passed, MODULE, passed + ": mend it"))
    return found


def wanted(resource: Resource) -> str:
    return "{} {} ≥ {}".format(resource["domain"], resource["item"], resource["limit"])


def seen_as(resource: Resource, seen: Observation) -> str:
    limits = ", ".join(
        "{} {}".format(kind, seen.value[kind]["limit"]) for kind in ("hard", "soft") if kind in seen.value
    )
    return "{} {} {}".format(resource["domain"], resource["item"], limits or "unset")


def setters(_resource: Resource, seen: Observation, _fields: Set[str]) -> Dict[str, Optional[str]]:
    if seen.state != VALUE:
        return {}
    have = seen.value
    found: Dict[str, Optional[str]] = {kind: have[kind]["at"] for kind in ("soft", "hard") if kind in have}
    found["account"] = next((other.rpartition("(")[2].rstrip(")") for other in have["others"]), None)
    return found


def place(resource: Resource) -> str:
    return "limits.conf: {} {}".format(resource["domain"], resource["item"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {r["id"]: None for r in resources}


def as_before(_resource: Resource, _before: None, _now: None) -> bool:
    return True  # nothing is written, so nothing is to go back


def write(_resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    """Nothing: its file is written as a file."""


def restore(_resources: List[Resource], _captured: Dict[str, Any]) -> None:
    """Nothing: its file goes back as a file."""


read_image = read
"""Its files are all that tells."""
