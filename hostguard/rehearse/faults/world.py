"""The world of a fault rehearsal: every provider with its fault, and the resolver that knows their names.

Two processes in one network namespace: this one is the providers, so that no other work delays them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hostguard.policy.destinations import DNS
from hostguard.rehearse import dns, links
from hostguard.rehearse.faults.site import Plan, Site
from hostguard.rehearse.outside import questions, tell

WIRE = "world0"


def settle(hardware: str) -> None:
    links.address(WIRE, links.WORLD, links.WORLD_V6)
    links.peer(WIRE, bytes.fromhex(hardware), links.HOST, links.HOST_V6)
    links.be_everywhere(WIRE)


class World:
    def __init__(self, plans: Iterable[Plan], certificates: Path, orders: str) -> None:
        """`orders`: the path of the socket at which scripts tell a provider what to do."""
        self.sites: Mapping[str, Site] = {plan.key: Site(plan, certificates) for plan in plans}
        self.by_name = {host: site for site in self.sites.values() for host in site.names}
        for family in (socket.AF_INET, socket.AF_INET6) if links.has_ipv6() else (socket.AF_INET,):
            _always(self._resolve, _resolver(family))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(orders)
        Path(orders).chmod(0o777)
        listener.listen(1024)
        _always(self._accept, listener)

    def _resolve(self, opened: socket.socket) -> None:
        def say(question: bytes) -> bytes | None:
            with contextlib.suppress(IndexError, ValueError):
                name = dns.name_of(question)
                site = self.by_name.get(name)
                return site.resolved(question, name) if site else dns.answer(question, (), code=dns.NXDOMAIN)
            return None

        dns.reply(opened, say)

    def _accept(self, listener: socket.socket) -> None:
        line, _ = listener.accept()
        threading.Thread(target=self._obey, args=(line,), daemon=True).start()

    def _obey(self, line: socket.socket) -> None:
        with line:
            for question in questions(line):
                self.sites[question["site"]].do(question["do"])
                tell(line, True)

    def reached(self) -> dict[str, Any]:
        """What each provider saw."""
        return {key: site.seen for key, site in self.sites.items()}


def _resolver(family: socket.AddressFamily) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    opened.bind(("", DNS))
    dns.tells_where(opened)
    return opened


def _always(does: Any, opened: socket.socket) -> None:
    def loop() -> None:
        while True:
            with contextlib.suppress(OSError):
                does(opened)

    threading.Thread(target=loop, daemon=True).start()


def serve(
    line: socket.socket, plans: Iterable[Plan], certificates: Path, orders: str, is_there: Callable[[], None]
) -> None:
    """Until the line ends. First the hardware address of the host, answered by our own; then `reached`."""
    asked = questions(line)
    settle(next(asked)["hardware"])
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
        wire.bind((WIRE, 0))
        own = wire.getsockname()[4].hex()
    world = World(plans, certificates, orders)
    is_there()
    tell(line, {"hardware": own})
    for _ in asked:
        tell(line, world.reached())
