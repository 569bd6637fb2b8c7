"""What lies outside the host: it owns every other address, answers whoever asks, and judges what comes out."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
from pathlib import Path
from typing import Any

from hostguard.attack.aim import NAMED
from hostguard.host.attack import packets
from hostguard.host.attack.shot import MAGIC, Shot, family_of, shows, signs, token
from hostguard.policy.destinations import DNS
from hostguard.rehearse import dns, links
from hostguard.rehearse.outside import tell
from hostguard.rehearse.provider import Provider

WIRE = "world0"
TIMEOUT, NO_ANSWER = 10.0, 3.0
"""Seconds to wait, over a wire without delay, for an answer that must come on a busy machine too; and for one that must
not."""
FLOW_PORT = 4446
"""A connection here is kept, and answered when it is said."""
ETH_P_ALL = 0x0003
UNSPOKEN = 253
"""A protocol that the host's kernel answers with an error."""


def world(line: socket.socket) -> None:
    """Serve until the line ends."""
    questions = line.makefile("r", encoding="utf-8")
    first = json.loads(questions.readline())
    links.address(WIRE, links.WORLD, links.WORLD_V6)
    links.peer(WIRE, bytes.fromhex(first["hardware"]), links.HOST, links.HOST_V6)
    links.be_everywhere(WIRE)
    _World(line, first["ports"]).run(questions)


class _World:
    def __init__(self, line: socket.socket, ports: list[list[Any]]) -> None:
        self.line = line
        self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.tap.bind((WIRE, 0))
        self.tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.selector = selectors.DefaultSelector()
        self.seen: list[bytes] = []
        self.kept: dict[int, socket.socket] = {}
        self.provider: Provider | None = None
        for protocol, port in ports:
            for family in (socket.AF_INET, socket.AF_INET6) if links.has_ipv6() else (socket.AF_INET,):
                self._listen(protocol, family, port)
        tell(line, {"hardware": self.tap.getsockname()[4].hex()})

    def _listen(self, protocol: str, family: socket.AddressFamily, port: int) -> None:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        opened = socket.socket(family, kind)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(("", port))
        if protocol == "tcp":
            opened.listen()
            self.selector.register(opened, selectors.EVENT_READ, self._keep if port == FLOW_PORT else self._accept)
            return
        dns.tells_where(opened)
        self.selector.register(opened, selectors.EVENT_READ, self._echo)

    def run(self, questions: Any) -> None:
        self.selector.register(self.line, selectors.EVENT_READ, None)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is not self.line:
                    key.data(key.fileobj)
                    continue
                question = questions.readline()
                if not question:
                    return
                self._answer(json.loads(question))

    def _answer(self, question: dict[str, Any]) -> None:
        tell(self.line, getattr(self, f"do_{question['do']}")(question))

    def do_look(self, question: dict[str, Any]) -> int:
        """How many frames of a shot came out since the last look; all others are forgotten."""
        looked_for, all_of = ([bytes.fromhex(sign) for sign in question[key]] for key in ("any", "all"))
        links.barrier()
        self._capture()
        found = sum(shows(frame, looked_for, all_of) for frame in self.seen)
        self.seen = []
        return found

    def _capture(self) -> None:
        """Take what is on the wire, but for what we sent ourselves."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, place = self.tap.recvfrom(65536, socket.MSG_DONTWAIT)
                if place[2] != socket.PACKET_OUTGOING:
                    self.seen.append(frame)

    def do_knock(self, question: dict[str, Any]) -> bool:
        """Come in to the host; the caller is kept by its mark."""
        protocol, family = question["protocol"], family_of(question["source"])
        host = (links.HOST if family == socket.AF_INET else links.HOST_V6, question["port"])
        self._capture()
        self.seen = []
        caller = self._caller(question, family, protocol)
        if protocol == "tcp":
            caller.connect_ex(host)
        else:
            caller.sendto(self._words(question, host[0]), host)
        # A packet there, its answer, and what the answer is answered with.
        for _ in range(3):
            links.barrier()
        self.kept[question["mark"]] = caller
        return True

    def do_hear(self, question: dict[str, Any]) -> dict[str, Any]:
        """What came of a knock: any answer of the host's (`left`), and its words (`works`)."""
        mark, port = question["mark"], question["port"]
        left = self.do_look({"any": [sign.hex() for sign in (signs(mark, port) if port else [token(mark)])], "all": []})
        works = False
        caller = self.kept[mark]
        if left and question["talk"]:
            caller.settimeout(TIMEOUT)
            with contextlib.suppress(OSError):
                works = caller.recv(16) == b"host"
        if not question.get("keep"):
            self.kept.pop(mark).close()
        return {"left": left, "works": works}

    def _caller(self, question: dict[str, Any], family: socket.AddressFamily, protocol: str) -> socket.socket:
        icmp = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
        kind, number = {
            "tcp": (socket.SOCK_STREAM, 0),
            "udp": (socket.SOCK_DGRAM, 0),
            "icmp": (socket.SOCK_RAW, icmp),
            "other": (socket.SOCK_RAW, UNSPOKEN),
        }[protocol]
        caller = socket.socket(family, kind, number)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            caller.setsockopt(socket.IPPROTO_IPV6, dns.IPV6_FREEBIND, 1)
        caller.bind((question["source"], question["mark"] if kind != socket.SOCK_RAW else 0))
        caller.setblocking(False)
        return caller

    def _words(self, question: dict[str, Any], host: str) -> bytes:
        shot = Shot("raw", host, 0, question["mark"], question["source"])
        return packets.icmp(shot, shot.source) if question["protocol"] == "icmp" else shot.token

    def do_provide(self, question: dict[str, Any]) -> bool:
        """From now on be a provider with the certificate in this folder; without a folder, none any more."""
        self.provider = Provider(Path(question["folder"])) if question["folder"] else None
        return True

    def do_reached(self, _question: dict[str, Any]) -> list[dict[str, str]]:
        """What has reached the provider since this was last asked."""
        return self.provider.reached() if self.provider else []

    def do_push(self, question: dict[str, Any]) -> bool:
        """Say something on a connection that is kept."""
        self.do_look({"any": [], "all": []})
        connection = self.kept.get(question["peer"])
        if connection:
            connection.sendall(token(question["mark"]))
            links.barrier()
        return connection is not None

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        if self.provider:
            self.provider.serve(connection)
            return
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"world")

    def _keep(self, listener: socket.socket) -> None:
        connection, peer = listener.accept()
        self.kept[peer[1]] = connection

    def _echo(self, opened: socket.socket) -> None:
        """What came goes back; a question is answered: every name leads to one address, and has nothing else."""
        asked = opened.getsockname()[1] == DNS

        def say(data: bytes) -> bytes:
            return dns.answer(data, [NAMED]) if asked and not data.startswith(MAGIC) else data

        dns.reply(opened, say)
