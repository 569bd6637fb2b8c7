"""A set of destinations in the kernel, replaced as a whole by one swap.

Entries are `ADDRESS/LENGTH,PROTOCOL:PORT`. A set marked `held` is no allowlist: it is filled once, when it is
made, with the connections that are open at that moment (see `open_connections`), and never compared. One with a
`timeout` (seconds) is filled by the host's resolver, and whoever writes it keeps what it holds: there, only what no
answer can have put in is too much.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Set

from .. import proc_net
from ..program import lines_of, run
from ..resource import (
    ABSENT,
    ABSENT_HERE,
    VALUE,
    Difference,
    HostError,
    Observation,
    Resource,
    each,
    value,
)

FAMILY_OPTION = {"ipv4": "inet", "ipv6": "inet6"}
FULL_LENGTH = {"ipv4": "/32", "ipv6": "/128"}
IN_KERNEL = True
DEFAULT_LIMIT = 65536
SHOWN = 3


def resource(control: str, family: str, name: str, type: str, entries: List[str], **more: Any) -> Resource:
    """A set, and what is in it. `more`: `timeout` in seconds, of entries that answers fill in; `held`, a set of who was
    connected to these `ports` before the rules came."""
    return dict(more, id="ipset:{}".format(name), kind="ipset", control=control, name=name, type=type, family=family,
                entries=entries)  # fmt: skip


def read(resources: List[Resource]) -> Dict[str, Observation]:
    found = _saved()
    return {r["id"]: value(found[r["name"]]) if r["name"] in found else ABSENT_HERE for r in resources}


def _saved() -> Dict[str, Dict[str, Any]]:
    return parse(run(["ipset", "save"]).stdout)


def parse(text: str) -> Dict[str, Dict[str, Any]]:
    """`ipset save` as {name: {"type": …, "header": the create line's rest, "entries": […]}}.

    Raises HostError for anything else: a set that can't be shown is not one that is not there.
    """
    sets: Dict[str, Dict[str, Any]] = {}
    for line in lines_of(text):
        verb, _, rest = line.partition(" ")
        name, _, rest = rest.partition(" ")
        if verb == "add" and name in sets:
            sets[name]["entries"].append(rest)
        elif verb == "create" and rest:
            kind, _, header = rest.partition(" ")
            sets[name] = {"type": kind, "header": header, "entries": []}
        elif line:
            raise HostError("`ipset save` says {!r}: not a line that it should".format(line[:80]))
    return sets


def canonical(entry: str, family: str) -> str:
    """An entry as `ipset save` writes it: an address of full length has no length."""
    return entry.replace(FULL_LENGTH[family] + ",", ",", 1)


def entries_of(resource: Resource) -> Set[str]:
    return {canonical(entry, resource["family"]) for entry in resource["entries"]}


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state == ABSENT:
        return [Difference("set", "absent", wanted(resource))]
    if seen.state != VALUE:
        return []
    if seen.value["type"] != resource["type"]:
        return [Difference("type", seen.value["type"], resource["type"])]
    if resource.get("held"):
        return []
    if resource.get("timeout"):
        return _differ_in_time(resource, seen.value)
    want, have = entries_of(resource), set(seen.value["entries"])
    found = []
    if want - have:
        found.append(Difference("missing", "", _some(want - have)))
    if have - want:
        found.append(Difference("not in the policy", _some(have - want), ""))
    return found


def _differ_in_time(resource: Resource, have: Dict[str, Any]) -> List[Difference]:
    found = []
    if timeout_of(have) != resource["timeout"]:
        found.append(Difference("timeout", str(timeout_of(have)), str(resource["timeout"])))
    other = set(have["entries"]) - set(_of_answers(resource, have))
    if other:
        found.append(Difference("not from an answer", _some(other), ""))
    return found


def timeout_of(have: Dict[str, Any]) -> int:
    """How long an entry stays that says nothing of it; 0 for ever."""
    found = re.search(r"\btimeout ([0-9]+)\b", have["header"])
    return int(found.group(1)) if found else 0


def _of_answers(resource: Resource, have: Dict[str, Any]) -> List[str]:
    """The entries whose time is one that an answer gives: at most the set's, and never none."""
    timed = [(entry, entry.partition(" timeout ")[2]) for entry in have["entries"]]
    return [entry for entry, left in timed if left.isdecimal() and 0 < int(left) <= resource["timeout"]]


def _some(entries: Set[str]) -> str:
    shown = ", ".join(sorted(entries)[:SHOWN])
    more = len(entries) - SHOWN
    return "{} and {} more".format(shown, more) if more > 0 else shown


def wanted(resource: Resource) -> str:
    if resource.get("held"):
        return "{}: a set for the connections held over from before".format(resource["name"])
    if resource.get("timeout"):
        return "{}: a set for what the resolver answers, {} s each".format(resource["name"], resource["timeout"])
    return "{}: {} destination{}".format(
        resource["name"], len(resource["entries"]), "" if len(resource["entries"]) == 1 else "s"
    )


def seen_as(resource: Resource, seen: Observation) -> str:
    if resource.get("held"):
        return str(resource["name"])
    return "{}: {} in the kernel".format(resource["name"], len(seen.value["entries"]))


def create_line(resource: Resource, name: str) -> str:
    """A set's `create` line; the size is a power of two that leaves room, since a full set refuses its swap-in."""
    room = DEFAULT_LIMIT
    while room < 2 * len(resource["entries"]):
        room *= 2
    # Growing by rehashing while 100,000 entries come in costs more than the whole load.
    hashsize = max(1024, room // 4) if room > DEFAULT_LIMIT else 1024
    line = "create {} {} family {} hashsize {} maxelem {}".format(
        name, resource["type"], FAMILY_OPTION[resource["family"]], hashsize, room
    )
    # A name with more addresses than there is room for loses some of the old ones, and never the newest.
    return line + (" timeout {} forceadd".format(resource["timeout"]) if resource.get("timeout") else "")


def script(resources: List[Resource]) -> str:
    """What `ipset restore` reads at boot: every set, made and filled."""
    lines = []
    for resource in resources:
        lines.append(create_line(resource, resource["name"]))
        lines += ["add {} {}".format(resource["name"], entry) for entry in resource["entries"]]
    return "\n".join(lines) + "\n"


def write(resources: List[Resource], seen: Dict[str, Observation]) -> None:
    lines = []
    for resource in resources:
        name, have = resource["name"], seen[resource["id"]]
        entries = open_connections(resource) if resource.get("held") else resource["entries"]
        if resource.get("timeout") and have.state == VALUE:
            entries = _of_answers(resource, have.value)
        if have.state == VALUE and have.value["type"] == resource["type"]:
            lines += _swap(name, create_line(resource, TEMPORARY), entries)
        else:
            lines.append(create_line(resource, name))
            lines += ["add {} {}".format(name, entry) for entry in entries]
    _load(lines)


TEMPORARY = "hostguard-swap"


def _swap(name: str, create: str, entries: List[str]) -> List[str]:
    added = ["add {} {}".format(TEMPORARY, entry) for entry in entries]
    return [create, *added, "swap {} {}".format(TEMPORARY, name), "destroy {}".format(TEMPORARY)]


def _load(lines: List[str]) -> None:
    if lines:
        # What was cut short may have left it, and of another type it would be in the way for ever.
        run(["ipset", "destroy", TEMPORARY], check=False)
        run(["ipset", "-exist", "restore"], text="\n".join(lines) + "\n")


def place(resource: Resource) -> str:
    return "set {}".format(resource["name"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    found = _saved()
    return {r["id"]: {"name": r["name"], "set": found.get(r["name"])} for r in resources}


def as_before(resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    was, have = before["set"], now["set"]
    if was is None and have is not None:
        return not have["entries"] and _is_used(now["name"])
    if was is None or have is None:
        return was is have
    if resource.get("held") or resource.get("timeout"):  # a moment's, and what was answered since
        return bool(was["type"] == have["type"])
    return bool(was["type"] == have["type"] and set(was["entries"]) == set(have["entries"]))


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    """Refill what was there before. Rules may still use what was not: `withdraw` takes that away after them."""
    present = _saved()
    lines = []
    for resource in resources:
        name, before = resource["name"], captured[resource["id"]]["set"]
        if before is None:
            continue
        if resource.get("timeout") and name in present and timeout_of(present[name]) == timeout_of(before):
            continue  # what was answered since is as good
        create = "create {{}} {} {}".format(before["type"], before["header"])
        if name in present and present[name]["type"] == before["type"]:
            lines += _swap(name, create.format(TEMPORARY), before["entries"])
        else:
            lines.append(create.format(name))
            lines += ["add {} {}".format(name, entry) for entry in before["entries"]]
    _load(lines)


def withdraw(_resources: List[Resource], captured: Dict[str, Any]) -> None:
    present = _saved()
    names = [saved["name"] for saved in captured.values() if saved["set"] is None and saved["name"] in present]
    each(names, _destroy)


def _destroy(name: str) -> None:
    """Where somebody else's rule uses a set, the kernel keeps it, and we leave it empty."""
    done = run(["ipset", "destroy", name], check=False)
    if done.returncode:
        run(["ipset", "flush", name])
        if not _is_used(name):
            raise HostError("`ipset destroy {}` failed: {}".format(name, done.stderr.strip()))


def _is_used(name: str) -> bool:
    said = run(["ipset", "list", "-terse", name], check=False).stdout
    return re.search("^References: [1-9]", said, re.MULTILINE) is not None


def open_connections(resource: Resource) -> List[str]:
    """The peers of the TCP connections that came in on the resource's `ports` and are open now.

    Where connection tracking was not loaded before, the first packet that it sees of an old connection may be an
    outgoing one: it counts as new, is dropped, and the session that applies the rules hangs (seen on a Debian 13
    machine; ansible/ansible#61822). So the rules let these peers, by address and port, be answered without it.
    """
    listed = set(resource["ports"])
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii", newline="\n") as file:
                rows = list(proc_net.rows(file.read()))
        except OSError:
            continue
        for row in rows:
            if row.state == proc_net.ESTABLISHED and row.port in listed:
                family, text = proc_net.decode(row.peer)
                if family == resource["family"]:
                    found.append("{},tcp:{}".format(text, row.peer_port))
    return sorted(set(found))
