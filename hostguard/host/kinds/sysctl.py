"""A kernel parameter: the live value, and the value that the next boot will set.

Both are one resource, since either alone is a half-truth.
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Set

from .. import kept_file, parameters, store, sysctl_files
from ..program import run
from ..resource import VALUE, Difference, Observation, Resource, not_applicable, not_running, value

OUR_FILE = "/etc/sysctl.d/zz-hostguard.conf"
HEADER = "# Written by hostguard: edit the policy instead. The name sorts after 99-sysctl.conf, so that it wins.\n"


def sorts_after_ours(path: str) -> bool:
    return os.path.basename(path) > os.path.basename(OUR_FILE)


def resource(control: str, key: str, text: str, compare: str, **more: str) -> Resource:
    """A parameter, live and at boot. `compare`: equal, min (a number of at least that) or ports (all of these).

    `more`: `module`, which apply loads since it brings the parameter; `unlimited`, the value that means no limit;
    `since`, the Linux that brought it: an older one does without.
    """
    return dict(more, id="sysctl:" + key, kind="sysctl", control=control, key=key, value=text, compare=compare)


def read(resources: List[Resource]) -> Dict[str, Observation]:
    seen = {}
    assignments, trouble, stuck = sysctl_files.configuration(), sysctl_files.boot_trouble(), kept_file.stuck(OUR_FILE)
    for resource in resources:
        key, module = resource["key"], resource.get("module", "")
        foreign = parameters.of_another(key)
        try:
            live: Optional[str] = parameters.normal(parameters.live_value(key))
        except FileNotFoundError:
            live = None
        if module and foreign and not holds(resource, live):
            # Where every kernel has less by itself, a container of it must not be kept from all the rest.
            has = "has {}".format(live) if live else "tracks no connection yet"
            said = "{} is the machine's, not this container's: it {}, and {} is needed: set it there"
            seen[resource["id"]] = not_applicable(said.format(key, has, wanted(resource)))
            continue
        if live is None and "since" in resource:
            said = "this kernel ({}) has no {}, which came with Linux {}"
            seen[resource["id"]] = not_applicable(said.format(os.uname().release, key, resource["since"]))
            continue
        of_module = sysctl_files.boot_trouble(sysctl_files.MODULES_UNIT) if module else ""
        found = _observation(key, live, assignments, trouble or of_module, foreign)
        found.value["stuck"] = stuck
        found.value["takes"] = parameters.takes_away(key)
        found.value["lacks"] = parameters.lacks(key, bool(module)) if live is None else ""
        seen[resource["id"]] = found
    return seen


def _observation(
    key: str, live: Optional[str], assignments: List[sysctl_files.Assignment], trouble: str, foreign: bool
) -> Observation:
    boot = sysctl_files.winner(assignments, key)
    return value(
        {
            "live": live,
            "boot": boot.value if boot else None,
            "boot_from": boot.at if boot else None,
            "later": next((a.at for a in assignments if a.key == key and (a.after or sorts_after_ours(a.path))), None),
            "trouble": trouble,
            "foreign": foreign,
        }
    )


def read_image(resources: List[Resource]) -> Dict[str, Observation]:
    """Of an image: what a boot of it would set. Where that is as wanted, the rest is its kernel's to tell."""
    assignments, trouble = sysctl_files.configuration(), sysctl_files.boot_trouble()
    seen = {}
    for resource in resources:
        if resource["compare"] == "min" and not sysctl_files.winner(assignments, resource["key"]):
            seen[resource["id"]] = not_running()  # at least so much is wanted: the kernel may have it by itself
            continue
        booted = _observation(resource["key"], str(resource["value"]), assignments, trouble, foreign=False)
        seen[resource["id"]] = booted if differ(resource, booted) else not_running()
    return seen


def holds(resource: Resource, setting: Optional[str]) -> bool:
    """Whether a value satisfies what is wanted: `compare` is equal, min (at least) or ports (contains them)."""
    if setting is None:
        return False
    want = resource["value"]
    if resource["compare"] == "min":
        return setting == resource.get("unlimited") or (setting.isdecimal() and int(setting) >= int(want))
    if resource["compare"] == "ports":
        return parameters.ports(want) <= parameters.ports(setting)
    return parameters.normal(setting) == parameters.normal(want)


def wanted(resource: Resource) -> str:
    sign = {"min": "≥ ", "ports": "contains "}.get(resource["compare"], "")
    return sign + str(resource["value"])


def seen_as(_resource: Resource, seen: Observation) -> str:
    live, boot = seen.value["live"], seen.value["boot"]
    if live == boot or boot is None:
        return "{}".format(live)
    return "{} (at boot {}, {})".format(live, boot, seen.value["boot_from"])


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    have, want = seen.value, wanted(resource)
    found = []
    if have["live"] is None and resource.get("module"):
        found.append(Difference("live", "not there before its module is loaded", want, have.get("lacks", "")))
    elif have["live"] is None:
        lacks = have.get("lacks") or "this kernel has no {}".format(resource["key"])
        return [Difference("live", "no such parameter", want, lacks)]
    elif not holds(resource, have["live"]):
        blocked = ""
        if have["foreign"]:
            blocked = "{} is the machine's, not this container's: set it there".format(resource["key"])
        elif have.get("takes") and resource["value"] == "1":
            blocked = "{} takes {} away, which no way back can give back: remove it first, or leave IPv6 on".format(
                resource["key"], ", ".join(have["takes"])
            )
        found.append(Difference("live", have["live"], want, blocked))
    if have["boot"] is None and have["foreign"]:
        return found  # a container's boot sets nothing of the machine's
    if have["trouble"]:
        found.append(Difference("at boot", "nothing is set", want, have["trouble"]))
    elif not holds(resource, have["boot"]):
        blocked = have.get("stuck", "")
        if have["later"]:
            blocked = "{} sets it after {} at boot and would win: remove that line".format(have["later"], OUR_FILE)
        shown = "unset" if have["boot"] is None else "{} ({})".format(have["boot"], have["boot_from"])
        found.append(Difference("at boot", shown, want, blocked))
    return found


def setters(_resource: Resource, seen: Observation, _fields: Set[str]) -> Dict[str, Optional[str]]:
    if seen.state != VALUE:
        return {}
    have = seen.value
    # Nobody knows which program wrote the live value: the file is named only if it says the same.
    live = have["boot_from"] if have["live"] == have["boot"] else None
    return {"at boot": have["boot_from"] or OUR_FILE, "live": live}


def place(resource: Resource) -> str:
    return str(resource["key"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    lines, file = our_lines(), kept_file.snapshot(OUR_FILE)
    saved: Dict[str, Any] = {}
    own = {resource["key"] for resource in resources}
    for resource in resources:
        key = resource["key"]
        saved[resource["id"]] = {
            "key": key,
            "live": parameters.live(key),
            "line": lines.get(key),
            "file": file,
            "beside": {each: parameters.live(each) for each in parameters.changed_with(key) if each not in own},
        }
    return saved


def carry_over(older: Dict[str, Any], before: Dict[str, Any]) -> None:
    """Of what later generations found: the file, and what is handed down, are as `older` found them before that."""
    found = {identity: saved for identity, saved in older.items() if identity.startswith("sysctl:")}
    beside = {key: live for saved in found.values() for key, live in saved.get("beside", {}).items()}
    file = next((saved["file"] for saved in found.values() if saved["file"]), None)
    for identity, saved in before.items():
        if identity.startswith("sysctl:") and identity not in found:
            before[identity] = dict(saved, live=beside.get(saved["key"], saved["live"]), file=file or saved["file"])


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    lines, settings = our_lines(), {}
    for resource in resources:
        have = seen[resource["id"]].value
        if have["live"] is None and resource.get("module"):
            # As the next boot does: our rules load it by themselves, but only once they are written.
            run(["modprobe", resource["module"]])
            have = dict(have, live=parameters.brought(resource["key"]))
        setting = resource["value"]
        if resource["compare"] == "ports":
            setting = parameters.port_list(parameters.ports(setting) | parameters.ports(have["live"] or ""))
        if not holds(resource, have["live"]):
            settings[resource["key"]] = setting
        elif resource["compare"] == "min":
            # A boot must not lower what is there now.
            unlimited = have["live"] == resource.get("unlimited")
            setting = have["live"] if unlimited else str(max(int(setting), int(have["live"])))
        if not have["foreign"]:
            lines[resource["key"]] = setting
    parameters.settle(settings)
    _write_lines(lines)


def as_before(_resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    # What came with a module stays with it: nothing has used it before, and the next boot makes it the kernel's own.
    live = before["live"] is None or now["live"] in (before["live"], None) or before["key"] in parameters.ONE_WAY
    beside = all(now.get("beside", {}).get(key, was) in (was, None) for key, was in before.get("beside", {}).items())
    return bool(live and beside and before["line"] == now["line"] and _same_file(before["file"], now["file"]))


def _same_file(before: Optional[Dict[str, Any]], now: Optional[Dict[str, Any]]) -> bool:
    """Whether it is the very file, with its comments and times, if its lines are the same; of other lines other
    resources tell."""
    if before is None or now is None or _lines_of(before) != _lines_of(now):
        return True
    return kept_file.is_as_before(before, now)


def _lines_of(saved: Dict[str, Any]) -> Dict[str, str]:
    return _in(kept_file.content_of(saved))


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    lines = our_lines()
    for resource in resources:
        saved = captured[resource["id"]]
        if saved["line"] is None:
            lines.pop(saved["key"], None)
        else:
            lines[saved["key"]] = saved["line"]
    # What a boot will set first: it holds whatever becomes of the live values.
    known = [captured[r["id"]]["file"] for r in resources if captured[r["id"]]["file"]]
    same = next((file for file in known if _lines_of(file) == lines), None)
    if same:
        kept_file.put_back(same)  # with its times
    else:
        _write_lines(lines)
    settings: Dict[str, Optional[str]] = {}
    for saved in (captured[resource["id"]] for resource in resources):
        settings.update(saved.get("beside", {}))
    settings.update((saved["key"], saved["live"]) for saved in (captured[resource["id"]] for resource in resources))
    parameters.settle(settings)


def our_lines() -> Dict[str, str]:
    try:
        with open(OUR_FILE, encoding="utf-8", errors="backslashreplace", newline="") as file:
            return _in(file.read())
    except FileNotFoundError:
        return {}


def _in(text: str) -> Dict[str, str]:
    return {a.key: a.value for a in sysctl_files.parse(text, OUR_FILE) if a.value is not None}


def _body(lines: Dict[str, str]) -> str:
    return HEADER + "".join("{} = {}\n".format(key, lines[key]) for key in sorted(lines)) if lines else ""


def _write_lines(lines: Dict[str, str]) -> None:
    if lines == our_lines():
        return
    if lines:
        kept_file.put(OUR_FILE, _body(lines).encode(), 0o644, 0, 0)
    else:
        store.remove(OUR_FILE)
