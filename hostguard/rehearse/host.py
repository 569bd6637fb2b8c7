"""The host of the stage, wired to the world and to namespaces of its own: it makes the attempts, the world judges."""

from __future__ import annotations

import contextlib
import grp
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hostguard.attack.aim import ENEMIES, ENEMIES_V6, OF_GATEWAY, Attempt
from hostguard.host.attack import packets
from hostguard.host.attack.fire import Shooter
from hostguard.host.attack.shot import FIRST_MARK, Shot, family_of, signs, token
from hostguard.rehearse import gateway, legs, links
from hostguard.rehearse.doors import Doors
from hostguard.rehearse.outcome import ONE_ACCOUNT
from hostguard.rehearse.outside import Outside
from hostguard.rehearse.world import FLOW_PORT, NO_ANSWER, TIMEOUT, WIRE, world

Answer = dict[str, Any]


class StagedHost:
    def __init__(self, accounts: dict[str, int], tries: list[Attempt], all_accounts: bool, why_not: str = "") -> None:
        """`why_not`: no gateway runs here, and why."""
        self.accounts, self.tries, self.all_accounts = accounts, tries, all_accounts
        # One CPU for all: then the kernel deals with packets in the order in which they were sent.
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        links.up("lo")
        settle()
        self.world = Outside(world)
        links.wire(legs.OUT, WIRE, self.world.pid)
        links.address(legs.OUT, links.HOST, links.HOST_V6)
        self.hardware = legs.hardware_of(legs.OUT)
        heard = {"tcp": "tcp", "udp": "udp", "name": "tcp"}
        ports = {(heard[a.case.way], a.port) for a in tries if a.sanctioned and a.case.way in heard}
        ports |= {("tcp", FLOW_PORT), ("udp", FLOW_PORT)}
        ports |= {("tcp", a.case.options["port"]) for a in tries if a.case.way == "http"}
        outer = self.world.ask(hardware=self.hardware.hex(), ports=sorted(ports))["hardware"]
        self.outer = bytes.fromhex(outer)
        links.peer(legs.OUT, self.outer, links.WORLD, links.WORLD_V6, links.LINK_LOCAL)
        links.default_route(links.WORLD, links.WORLD_V6)
        links.forward()
        self.legs = legs.all_legs(self.outer, self._enemies(), legs.hardware_of)
        routed = next((a.address for a in tries if a.case.leg == "loopback"), None)
        if routed is not None:
            self.legs["loopback"] = legs.tried(lambda: legs.to_loopback(routed, legs.hardware_of))
        self.doors = Doors(self.world, accounts, self.all_accounts, why_not)
        self.flows: dict[int, socket.socket] = {}
        self.shooters: dict[int, Shooter] = {}

    def _enemies(self) -> tuple[str, str]:
        """Whom the attempts take for the enemy."""
        to = [a.address for a in self.tries if a.case.to == ("enemy",) and a.address and not a.sanctioned]
        v4, v6 = (next((a for a in to if (":" in a) is wide), None) for wide in (False, True))
        return v4 or ENEMIES[0], v6 or ENEMIES_V6[0]

    def attempt(self, number: int, when: str) -> Answer:
        """{"left": how many packets of it came out, "works": it was answered}, or why it could not be tried."""
        attempt = self.tries[number]
        if attempt.by_account and not self.all_accounts:
            return {"not tried": ONE_ACCOUNT}
        mark = FIRST_MARK + 2 * number + (when == "after")
        if attempt.case.way == "answer":
            return self._answer(attempt, mark)
        if attempt.case.layer in OF_GATEWAY:
            leg = self.legs[attempt.case.leg] if attempt.case.leg else self._shooter(attempt.account)
            return self.doors.attempt(attempt, self._shot(attempt, mark), leg.fire, when)
        if attempt.case.way == "flow":
            return self._flow(attempt, number, mark)
        return self._fire(attempt, mark)

    def _fire(self, attempt: Attempt, mark: int) -> Answer:
        case = attempt.case
        shot = self._shot(attempt, mark)
        self._left(shot, "")
        leg = self.legs["tun" if case.way == "tun" else case.leg] if case.leg or case.way == "tun" else None
        outer = ""
        if leg is None:
            answer = self._shooter(attempt.account).fire(shot)
        elif case.leg == "segments":
            outer = self._enemies()[1]
            answer = self._by_way_of(outer, attempt, shot)
        else:
            answer = leg.fire(shot)
        return {**answer, "left": self._left(shot, outer)}

    @contextlib.contextmanager
    def provider(self) -> Iterator[None]:
        """Meanwhile the world answers as a provider, where there is a gateway to ask one."""
        if self.doors.why_not or not any(attempt.case.way == "http" for attempt in self.tries):
            yield
            return
        self.world.ask(do="provide", folder=gateway.PLACE)
        yield
        self.world.ask(do="provide", folder="")

    def _shooter(self, account: str) -> Shooter:
        uid = self.accounts[account]
        if uid not in self.shooters:
            groups = [each.gr_gid for each in grp.getgrall() if account in each.gr_mem]
            self.shooters[uid] = Shooter(uid, [uid, *groups])
        return self.shooters[uid]

    def _by_way_of(self, enemy: str, attempt: Attempt, shot: Shot) -> Answer:
        try:
            with legs.by_way_of(enemy, attempt.address, attempt.case.options["segments"]):
                return self._shooter(attempt.account).fire(shot)
        except OSError as error:
            return {"works": False, "refused": str(error.strerror), "absent": True}

    def _shot(self, attempt: Attempt, mark: int) -> Shot:
        case = attempt.case
        leg = self.legs.get("tun" if case.way == "tun" else case.leg)
        beside = leg if "as_host" not in case.options else None
        sources = beside.sources if beside else (links.HOST, links.HOST_V6)
        return Shot(
            case.way, attempt.address, attempt.port, mark, sources[":" in attempt.address],
            case.options.get("on", legs.OUT),
            *(("00" * 6, "00" * 6) if "on" in case.options else (self.hardware.hex(), self.outer.hex())),
            TIMEOUT if attempt.sanctioned else NO_ANSWER if case.way == "question" else 0.0, dict(case.options),
        )  # fmt: skip

    def _left(self, shot: Shot, outer: str) -> int:
        looked_for = signs(shot.mark, shot.options.get("sport", shot.port))
        return self._look(looked_for, [packets.packed(outer)] if outer else [])

    def _look(self, looked_for: list[bytes], all_of: list[bytes]) -> int:
        return int(self.world.ask(do="look", any=[s.hex() for s in looked_for], all=[s.hex() for s in all_of]))

    def _answer(self, attempt: Attempt, mark: int) -> Answer:
        """Somebody outside begins; the service, where there is one, answers."""
        options = attempt.case.options
        protocol = options.get("protocol", "tcp")
        with contextlib.ExitStack() as stack:
            listener = None
            if protocol in ("tcp", "udp") and options.get("listens", True):
                listener = stack.enter_context(listening(attempt.source, protocol, attempt.port))
            question = {"source": attempt.source, "port": attempt.port, "mark": mark, "protocol": protocol}
            self.world.ask(do="knock", **question)
            if listener:
                stack.callback(_reply(listener, protocol, mark).close)
            answer: Answer = self.world.ask(do="hear", talk=bool(attempt.sanctioned), **question)
        return answer

    def _flow(self, attempt: Attempt, number: int, mark: int) -> Answer:
        """The first time the flow is opened and used, the second time it is used again."""
        protocol = attempt.case.options["protocol"]
        if number not in self.flows:
            with self._as(attempt.account):
                make = self._accepted if protocol == "accepted" else self._opened
                self.flows[number] = make(attempt, mark)
        flow = self.flows[number]
        self._look([], [])
        if attempt.case.options.get("pushed"):
            own = flow.getsockname()[1]
            self.world.ask(do="push", peer=own, mark=mark)
            return {"left": self._look(signs(own, FLOW_PORT), []), "works": False}
        with contextlib.suppress(OSError):
            flow.send(token(mark))
        return {"left": self._look([token(mark)], []), "works": False}

    def _opened(self, attempt: Attempt, mark: int) -> socket.socket:
        kind = socket.SOCK_STREAM if attempt.case.options["protocol"] == "tcp" else socket.SOCK_DGRAM
        flow = socket.socket(family_of(attempt.address), kind)
        flow.bind(("", mark))
        flow.settimeout(TIMEOUT)
        flow.connect((attempt.address, FLOW_PORT))
        if kind == socket.SOCK_DGRAM:
            flow.send(b"-")
            flow.recv(1)
        else:
            flow.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return flow

    def _accepted(self, attempt: Attempt, mark: int) -> socket.socket:
        with listening(attempt.source, "tcp", attempt.port) as listener:
            question = {"source": attempt.source, "port": attempt.port, "mark": mark, "protocol": "tcp"}
            self.world.ask(do="knock", **question)
            return listener.accept()[0]

    @contextlib.contextmanager
    def _as(self, account: str) -> Iterator[None]:
        """Sockets that are made here are the account's: their owner is who made them."""
        os.seteuid(self.accounts[account])
        try:
            yield
        finally:
            os.seteuid(0)


def settle() -> None:
    """What a distribution sets and a new namespace has not: ping for every group; and no source is thought wrong."""
    settings = {"ipv4/ping_group_range": "0 65534", "ipv4/conf/all/rp_filter": "0", "ipv4/conf/default/rp_filter": "0"}
    for name, text in settings.items():
        with contextlib.suppress(OSError):  # groups that are not mapped
            (Path("/proc/sys/net") / name).write_text(text, encoding="ascii")


@contextlib.contextmanager
def listening(peer: str, protocol: str, port: int) -> Iterator[socket.socket]:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(family_of(peer), kind) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("", port))
        if protocol == "tcp":
            listener.listen()
        listener.setblocking(False)
        yield listener


def _reply(listener: socket.socket, protocol: str, mark: int) -> socket.socket:
    """What a service says to whoever came; what was asked is here by now, or nobody was let in."""
    with contextlib.suppress(OSError):
        if protocol == "tcp":
            connection, _ = listener.accept()
            connection.sendall(b"host")
            return connection
        _, peer = listener.recvfrom(64)
        listener.sendto(token(mark), peer)
    return listener
