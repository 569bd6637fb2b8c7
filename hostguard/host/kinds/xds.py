"""The clusters and listeners of a running Envoy, which reads them from two files of a folder that it watches.

What counts is what it says by its admin that it has: it keeps silent about a file that it refused, says of listeners
that could not be bound that their version is in force, and looks at a file again only when one is renamed into the
folder. `clusters` and `listeners` are the texts of the files: each has `version_info`, and `resources` with a `name`.
`drain` are the seconds that Envoy goes on with open connections of a listener that was changed (--drain-time-s).
Where no Envoy runs, the files are all there is: it reads the clusters first when it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from typing import Any, Dict, Iterator, List, Optional, Set

from .. import envoy_admin, kept_file
from ..resource import VALUE, Difference, HostError, Observation, Resource, each, value
from . import file

CLUSTERS, LISTENERS = "clusters", "listeners"
NAMES = {CLUSTERS: "cds.json", LISTENERS: "lds.json"}
STATS = {CLUSTERS: "cluster_manager.cds.", LISTENERS: "listener_manager.lds."}
FILTER = r"^(cluster_manager\.(cds\.|warming)|listener_manager\.(lds\.|total_))"
WARMING = {CLUSTERS: "cluster_manager.warming_clusters", LISTENERS: "listener_manager.total_listeners_warming"}
DRAINING = ("listener_manager.total_listeners_draining", "listener_manager.total_filter_chains_draining")
OUTCOMES = ("update_success", "update_rejected", "update_failure")
SECONDS, PAUSE = 10.0, 0.01
"""That it may take to take up a file, 5 ms where nothing is odd; and between two questions."""


def resource(control: str, folder: str, admin: str, user: str, drain: int, clusters: str, listeners: str) -> Resource:
    """The files of the watched `folder` and what Envoy has of them. `admin` is its socket, `user` the uid that must
    answer there, `drain` how many seconds a connection that is let go may take."""
    return {
        "id": "xds:hostguard",
        "kind": "xds",
        "control": control,
        "folder": folder,
        "admin": admin,
        "user": user,
        "drain": drain,
        "clusters": clusters,
        "listeners": listeners,
    }


def read(resources: List[Resource]) -> Dict[str, Observation]:
    return {r["id"]: value({"files": _files(r), "running": _running(r)}) for r in resources}


def _files(resource: Resource) -> Dict[str, Any]:
    return {which: list(file.read([_file(resource, which)])[which]) for which in NAMES}


def _file(resource: Resource, which: str, content: Optional[str] = None) -> Resource:
    """The file as a resource of its own kind."""
    path = os.path.join(resource["folder"], NAMES[which])
    return {"id": which, "path": path, "content": resource[which] if content is None else content, "mode": "0644"}


def _running(resource: Resource) -> Optional[Dict[str, Any]]:
    """What the running Envoy has: by clusters and listeners the version that it took without a word against it, the
    names that are in force, those that still wait for something, and what it says against others."""
    counted = _counted(resource)
    dump = envoy_admin.ask_json(resource["admin"], envoy_admin.DUMP, int(resource["user"]))
    if counted is None or dump is None:
        return None
    found: Dict[str, Any] = {
        which: {"version": counted.get(STATS[which] + "version_text", ""), "active": [], "warming": [], "errors": {}}
        for which in NAMES
    }
    clusters, listeners = found[CLUSTERS], found[LISTENERS]
    for part in _objects(dump.get("configs")):
        clusters["active"] += [_name(of.get("cluster")) for of in _objects(part.get("dynamic_active_clusters"))]
        clusters["warming"] += [_name(of.get("cluster")) for of in _objects(part.get("dynamic_warming_clusters"))]
        for of in _objects(part.get("dynamic_listeners")):
            name, error = _name(of), of.get("error_state")
            listeners["active"] += [name] if "active_state" in of else []
            listeners["warming"] += [name] if "warming_state" in of else []
            if isinstance(error, dict) and name:  # once more without a name, for all together
                listeners["errors"][name] = str(error.get("details", ""))
    return found


def _objects(node: Any) -> Iterator[Dict[str, Any]]:
    """Those of what should be a list of objects."""
    return (each for each in (node if isinstance(node, list) else []) if isinstance(each, dict))


def _name(node: Any) -> str:
    return str(node.get("name", "")) if isinstance(node, dict) else ""


def _counted(resource: Resource) -> Optional[Dict[str, str]]:
    return envoy_admin.stats(resource["admin"], FILTER, int(resource["user"]))


def differ(resource: Resource, seen: Observation) -> List[Difference]:
    if seen.state != VALUE:
        return []
    found = []
    for which in NAMES:
        differences = file.differ(_file(resource, which), Observation(*seen.value["files"][which]))
        found += [d._replace(field="{} on disk: {}".format(which, d.field)) for d in differences]
    running = seen.value["running"]
    for which in NAMES if running else ():
        said, wanted_version = running[which], _version(resource[which])
        if said["version"] != wanted_version:
            have = "version {}".format(said["version"][:12] or "none")
            found.append(Difference(which + " in force", have, "version {}".format(wanted_version[:12])))
        for name in sorted(_names(resource[which]) - set(said["active"])):
            why = "still starts" if name in said["warming"] else said["errors"].get(name) or "none"
            found.append(Difference("{} {}".format(which[:-1], name), why, "in force"))
    return found


def _version(text: str) -> str:
    return str(json.loads(text)["version_info"])


def _names(text: str) -> Set[str]:
    return {each["name"] for each in json.loads(text)["resources"]}


def wanted(resource: Resource) -> str:
    return "; ".join("{} {}".format(which, ", ".join(sorted(_names(resource[which]))) or "none") for which in NAMES)


def seen_as(_resource: Resource, seen: Observation) -> str:
    running = seen.value["running"]
    if running is None:
        return "no process runs"
    return "; ".join("{} {}".format(which, ", ".join(sorted(running[which]["active"])) or "none") for which in NAMES)


def setters(resource: Resource, _seen: Observation, fields: Set[str]) -> Dict[str, Optional[str]]:
    which = {field: CLUSTERS if field.startswith(CLUSTERS[:-1]) else LISTENERS for field in fields}
    return {field: str(_file(resource, which[field])["path"]) for field in fields}


def place(resource: Resource) -> str:
    return str(resource["folder"])


def capture(resources: List[Resource]) -> Dict[str, Any]:
    return {
        r["id"]: {
            "running": _running(r),
            **{which: kept_file.snapshot(_file(r, which)["path"]) for which in NAMES},
        }
        for r in resources
    }


def as_before(resource: Resource, before: Dict[str, Any], now: Dict[str, Any]) -> bool:
    """What runs must have what it had; whether it must run is its unit's matter."""
    files = all(file.as_before(resource, before[which], now[which]) for which in NAMES)
    files = files and not any(map(_is_socket, _gone(resource, before)))
    if before["running"] is None or now["running"] is None:
        return files
    return files and all(before["running"][which]["version"] == now["running"][which]["version"] for which in NAMES)


def write(resources: List[Resource], _seen: Dict[str, Observation]) -> None:
    for resource in resources:
        _reach(resource, {which: resource[which] for which in NAMES})


def restore(resources: List[Resource], captured: Dict[str, Any]) -> None:
    each(resources, lambda resource: _go_back(resource, captured[resource["id"]]))


def _go_back(resource: Resource, saved: Dict[str, Any]) -> None:
    texts = {which: kept_file.content_of(saved[which]) for which in NAMES}
    try:
        if all(map(_parsed, texts.values())):
            _reach(resource, texts)
    finally:
        for which in (LISTENERS, CLUSTERS):
            kept_file.put_back(saved[which])
        _forget_sockets(_gone(resource, saved))


def _is_socket(path: str) -> bool:
    """What else the account put there is its own, and in nobody's way."""
    with contextlib.suppress(OSError):
        return stat.S_ISSOCK(os.lstat(path).st_mode)
    return False


def _gone(resource: Resource, saved: Dict[str, Any]) -> Set[str]:
    """The sockets, by both names, that only what is undone had."""
    before = kept_file.content_of(saved[LISTENERS])
    return _names_of(_sockets(resource[LISTENERS])) - _names_of(_sockets(before))


def _reach(resource: Resource, texts: Dict[str, str]) -> None:
    """In this order no request meets a route without its cluster: what is new comes with its cluster first, what goes
    leaves its cluster behind last. And a listener that names a cluster that is not there is refused for good."""
    clusters, listeners = _parsed(texts[CLUSTERS]), _on_disk(resource, LISTENERS)
    names = _names(texts[CLUSTERS])
    kept = [each for each in _parsed(_on_disk(resource, CLUSTERS)).get("resources", []) if each["name"] not in names]
    if kept:
        both = {"version_info": clusters["version_info"] + " and before", "resources": clusters["resources"] + kept}
        _put(resource, CLUSTERS, json.dumps(both))
    else:
        _put(resource, CLUSTERS, texts[CLUSTERS])
    _put(resource, LISTENERS, texts[LISTENERS])
    _publish(_sockets(texts[LISTENERS]))
    if kept:
        _wait_for_drained(resource)
        _put(resource, CLUSTERS, texts[CLUSTERS])
    _forget_sockets(_names_of(_sockets(listeners)) - _names_of(_sockets(texts[LISTENERS])))


def _on_disk(resource: Resource, which: str) -> str:
    with contextlib.suppress(OSError), open(
        _file(resource, which)["path"], encoding="utf-8", errors="replace", newline="\n"
    ) as found:
        return found.read()
    return ""


def _parsed(text: str) -> Dict[str, Any]:
    """Empty for what somebody else wrote, and no Envoy would read."""
    try:
        found = json.loads(text)
        names, version = [each["name"] for each in found["resources"]], found["version_info"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return dict(found) if all(isinstance(each, str) for each in [*names, version]) else {}


def _put(resource: Resource, which: str, text: str) -> None:
    """Rename a file into the folder, and wait until the running Envoy has taken it up."""
    before, version = _counted(resource), _version(text)
    wanted_file = _file(resource, which, text)
    same = not file.differ(wanted_file, file.read([wanted_file])[which])
    if same and (before is None or before.get(STATS[which] + "version_text") == version):
        return
    file.write([wanted_file], {})
    if before is None:
        return
    end = time.monotonic() + SECONDS
    while True:
        now = _counted(resource)
        if now is None:
            raise HostError("Envoy ended over the {} of {}".format(which, wanted_file["path"]))
        rose = [each for each in OUTCOMES if now.get(STATS[which] + each) != before.get(STATS[which] + each)]
        taken = now.get(STATS[which] + "version_text") == version
        if rose and rose != [OUTCOMES[0]]:
            raise HostError("Envoy refuses the {} of {}{}".format(which, wanted_file["path"], _against(resource)))
        if rose and taken and now.get(WARMING[which], "0") == "0":
            return
        if time.monotonic() > end:
            what = "are still not ready" if taken else "were not taken up"
            raise HostError("the {} of {} {} after {:.0f} s".format(which, wanted_file["path"], what, SECONDS))
        time.sleep(PAUSE)


def _wait_for_drained(resource: Resource) -> None:
    """Connections that were open have their old routes, to clusters that are about to go: of the requests on them 1 in
    30 was answered with 503."""
    end = time.monotonic() + float(resource["drain"]) + SECONDS
    while any((_counted(resource) or {}).get(name, "0") != "0" for name in DRAINING):
        if time.monotonic() > end:
            raise HostError("Envoy still drains old listeners after {:.0f} s".format(resource["drain"] + SECONDS))
        time.sleep(10 * PAUSE)


def _against(resource: Resource) -> str:
    running = _running(resource) or {LISTENERS: {"errors": {}}}
    said = ["{}: {}".format(*pair) for pair in sorted(running[LISTENERS]["errors"].items())]
    return " ({})".format("; ".join(said)) if said else ": its journal says why"


def _sockets(text: str) -> Set[str]:
    """The paths of the Unix sockets that listeners have."""
    addresses = (each.get("address", {}) for each in _parsed(text).get("resources", []))
    return {each["pipe"]["path"] for each in addresses if "pipe" in each}


def _shown(path: str) -> str:
    """Where applications connect: `.NAME.sock` is what Envoy binds, and has the name without the dot too."""
    folder, name = os.path.split(path)
    return os.path.join(folder, name[1:] if name.startswith(".") else name)


def _names_of(paths: Set[str]) -> Set[str]:
    return paths | set(map(_shown, paths))


def _publish(paths: Set[str]) -> None:
    """Show those of listeners that came since the process was started."""
    from .. import takeover  # it needs http.client, which a host without a gateway does not load

    for path in paths:
        if path != _shown(path):
            with contextlib.suppress(FileNotFoundError):  # no process runs: the next one's start does it
                takeover.show(path)


def _forget_sockets(paths: Set[str]) -> None:
    """Envoy leaves the file of a socket, and its folder, when the listener goes."""
    for path in paths:
        with contextlib.suppress(OSError):
            if _is_socket(path):
                kept_file.remove_within(path)
            kept_file.remove_within(os.path.dirname(path))
