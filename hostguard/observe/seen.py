"""All that a host was seen to reach past its policy, gathered by who reached what."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hostguard import impact
from hostguard.observe.attempts import Event, Names, of
from hostguard.policy.checks import sent_by_kernel
from hostguard.policy.grammar import Address, Network

LINKS: dict[str, Any] = {
    "routes": {"collect": "text", "path": "/proc/net/route"},
    "addresses": {"collect": "text", "path": "/proc/net/if_inet6"},
}
ASK: dict[str, Any] = {**impact.ASK, **LINKS}
"""The evidence that is read here, at both ends of a run."""
WITH_A_GATEWAY = 0x2


class Trip(NamedTuple):
    """Who reached what; of an answer, who was answered and on which port of ours. `source`: the container's, of what
    was forwarded."""

    account: str
    peer: Address
    protocol: str
    port: int
    answer: bool = False
    source: Address | None = None


class Process(NamedTuple):
    command: str
    exe: str
    unit: str


@dataclass
class Sight:
    """How often a way was taken, from when to when (seconds since 1970), and by which processes."""

    first: float
    last: float
    attempts: int = 0
    refused: bool = True
    """Every answer was a refusal: nobody was let in."""
    ending: bool = True
    """It was the end of connections alone, which are known by their beginning."""
    processes: dict[Process, None] = field(default_factory=dict)


@dataclass
class Seen:
    mode: str = ""
    no_names: str = ""
    lost: int = 0
    names: Names = field(default_factory=Names)
    ways: dict[Trip, Sight] = field(default_factory=dict)
    links: set[Network] = field(default_factory=set)
    """The networks that the host is itself on."""
    leases: dict[int, str] = field(default_factory=dict)
    """The ports on which a DHCP client waits for its server, with the account of each."""
    _numbers: dict[int, Trip] = field(default_factory=dict)

    def hear(self, event: Event) -> None:
        kind = event["is"]
        if kind == "ready":
            self.mode, self.no_names = event["mode"], event["no_names"]
        elif kind == "answer":
            self.names.hear(event["message"])
        elif kind == "attempt":
            self._attempt(event)
        elif kind == "again":
            sight = self.ways[self._numbers[event["id"]]]
            sight.attempts += event["attempts"]
            sight.last = event["at"]
        elif kind == "lost":
            self.lost += event["packets"]
        elif kind == "evidence":
            self._evidence(event["found"], event["at"])

    def _attempt(self, event: Event) -> None:
        attempt = of(event)
        source = attempt.source if attempt.forwarded else None
        way = Trip(attempt.account, attempt.peer, attempt.protocol, attempt.port, attempt.answer, source)
        self._numbers[event["id"]] = way
        sight = self._sight(way, event["at"], Process(attempt.command, attempt.exe, attempt.unit))
        sight.attempts += 1
        sight.refused &= attempt.refusal
        sight.ending &= attempt.ending

    def _sight(self, way: Trip, at: float, process: Process) -> Sight:
        sight = self.ways.setdefault(way, Sight(at, at))
        sight.last = at
        if any(process):
            sight.processes[process] = None
        return sight

    def _evidence(self, found: Mapping[str, Mapping[str, Any]], at: float) -> None:
        said: dict[str, Any] = {name: answer.get("said") for name, answer in found.items()}
        self.links |= links(said.get("routes") or "", said.get("addresses") or "")
        if said.get("sockets"):
            self._sockets(list(impact.sockets(said["sockets"])), at)

    def _sockets(self, found: list[impact.Socket], at: float) -> None:
        """Connections that were open already may well be silent while we listen."""
        listening = {(each.protocol, each.source_port) for each in found if each.listens}
        here = {each.source for each in found}
        for each in found:
            if each.listens and each.protocol == "udp" and each.source_port in impact.DHCP_CLIENT:
                self.leases[each.source_port] = each.account
            if each.listens or each.state == impact.TIME_WAIT or each.destination.is_unspecified:
                continue
            if each.destination.is_loopback or each.destination in here:
                continue
            answer = (each.protocol, each.source_port) in listening
            port = each.source_port if answer else each.destination_port
            # A socket that no process holds, to where the kernel itself talks, is its own; sock_diag has root for it.
            account = each.account if each.process or answer or not sent_by_kernel(each.protocol, port) else ""
            way = Trip(account, each.destination, each.protocol, port, answer)
            command = each.process.rpartition(" (")[0]
            known = self.ways.get(way)
            process = Process("", "", "") if known and known.processes else Process(command, "", "")
            sight = self._sight(way, at, process)
            sight.refused = sight.ending = False


def links(routes: str, addresses: str) -> set[Network]:
    """The networks that a host is on, from /proc/net/route and /proc/net/if_inet6."""
    found: set[Network] = set()
    for row in map(str.split, routes.splitlines()[1:]):
        destination, mask = (socket.inet_ntoa(bytes.fromhex(row[at])[::-1]) for at in (1, 7))
        network = ipaddress.ip_network(f"{destination}/{mask}")
        if network.prefixlen and not int(row[3], 16) & WITH_A_GATEWAY:
            found.add(network)
    for row in map(str.split, addresses.splitlines()):
        address = ipaddress.ip_network((bytes.fromhex(row[0]), int(row[2], 16)), strict=False)
        if not address.is_loopback:
            found.add(address)
    return found
