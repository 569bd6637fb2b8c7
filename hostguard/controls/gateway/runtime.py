"""What the running proxy says at /clusters, and its processes: addresses that are nobody's any more, and limits that
are nearly reached."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway.asked import envoy
from hostguard.policy.gateway import Gateway

SHARE = 0.8
"""Of a limit: above it there is no room for a burst."""
MOVED = "each name leads the proxy where the host's own resolver leads to now"
ROOM = f"connections, memory and open files are below {SHARE:.0%} of their limits"
MEMBER = re.compile(r"(\[[0-9a-f:.]+\]:\d+|[0-9.]+:\d+|[^\s:/]*/[^\s:]*)::(\w+)::(.*)")
LIMIT = re.compile(r"(.+?)::default_priority::(max_\w+)::(\d+)")


@dataclass
class Members:
    """A cluster as it runs: what is told of each of its addresses, and its limits."""

    of: dict[str, dict[str, str]] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)

    def total(self, what: str) -> int:
        return sum(int(each.get(what, 0)) for each in self.of.values())


def _member(line: str) -> tuple[str, str, str, str] | None:
    """Cluster, address, what is told and its value. A cluster's name may hold `::` too: the first place fits where an
    address follows."""
    for found in re.finditer("::", line):
        if (one := MEMBER.fullmatch(line, found.end())) and found.start():
            return line[: found.start()], one[1], one[2], one[3]
    return None


def members(text: str) -> dict[str, Members]:
    """What /clusters says. Raises ValueError where that is nothing of the kind."""
    found: dict[str, Members] = {}
    for line in text.splitlines():
        limit, one = LIMIT.fullmatch(line), _member(line)
        if limit:
            found.setdefault(limit[1], Members()).limits[limit[2]] = int(limit[3])
        elif one:
            found.setdefault(one[0], Members()).of.setdefault(one[1], {})[one[2]] = one[3]
    if not found:
        raise ValueError("the admin tells of no cluster")
    return found


def asks_of_resolution(g: Gateway) -> Mapping[str, Any]:
    # Asked first: an answer that comes between the two is the proxy's own, and newer.
    return {"lookups": {"collect": "lookups", "names": _names(g), "account": g.account}, **envoy(g, "clusters")}


def _names(g: Gateway) -> list[str]:
    tokens = [up.credential.oauth.host for up in g.upstreams if up.credential and up.credential.oauth]
    return list(dict.fromkeys([*(host for up in g.upstreams for host in up.hosts), *tokens]))


def judges_resolution(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    now = {name: said["lookups"][name] for name in _names(g)}
    silent = [f"{name}: {each['error']}" for name, each in now.items() if not each["addresses"]]
    if silent:
        return Verdict("unknown", MOVED, f"the host itself does not resolve {'; '.join(silent)}")
    asked = asked_at(said["envoy"]["clusters"])
    return verdict(MOVED, list(moved(asked, now)), f"{len(now)} names lead where they should")


def asked_at(text: str) -> dict[str, list[set[str]]]:
    """The addresses of each name, a set for each cluster that has some of it, by /clusters."""
    found: dict[str, list[set[str]]] = {}
    for cluster in members(text).values():
        own: dict[str, set[str]] = {}
        for address, told in cluster.of.items():
            own.setdefault(told.get("hostname", ""), set()).add(address.rpartition(":")[0].strip("[]"))
        for name, addresses in own.items():
            found.setdefault(name, []).append(addresses)
    return found


def moved(asked: Mapping[str, list[set[str]]], now: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """One address in common is enough: providers answer with some of many. But every cluster looks a name up itself."""
    for name, each in now.items():
        if name not in asked:
            yield f"the proxy has no address of {name}"
        for have in asked.get(name, []):
            if not have & set(each["addresses"]):
                there, here = (", ".join(sorted(some)[:3]) for some in (have, each["addresses"]))
                yield f"the proxy sends what is for {name} to {there}, and it is at {here}"


def asks_of_capacity(g: Gateway) -> Mapping[str, Any]:
    return {**envoy(g, "clusters"), "processes": {"collect": "envoy-processes", "admin": g.admin}}


def judges_capacity(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    running = members(said["envoy"]["clusters"])
    found = [*_full(running), *_of_processes(g, said["processes"])]
    worst = max((each["heap"] for each in said["processes"]), default=0)
    return verdict(ROOM, found, f"{len(running)} clusters; {worst >> 20} MiB of heap, of {g.heap_max >> 20}")


def _full(running: Mapping[str, Members]) -> Iterator[str]:
    pairs = (("cx_active", "max_connections", "connections"), ("rq_active", "max_requests", "requests"))
    for name, cluster in running.items():
        for what, limit, word in pairs:
            used, most = cluster.total(what), cluster.limits.get(limit, 0)
            if most and used >= SHARE * most:
                yield f"{name} has {used} {word} under way, of {most}"


def _of_processes(g: Gateway, processes: list[Mapping[str, Any]]) -> Iterator[str]:
    if not processes:
        yield f"nobody answers at {g.admin}"
    for each in processes:
        if g.manage and each["heap"] >= SHARE * g.heap_max:
            yield f"process {each['pid']} has {each['heap'] >> 20} MiB of heap, of {g.heap_max >> 20}"
        if each["files"] >= SHARE * each["files_most"]:
            yield f"process {each['pid']} has {each['files']} open files, of {each['files_most']}"
