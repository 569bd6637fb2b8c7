"""What lies outside the host: it owns every other address, answers whoever asks, and sees what comes out.

A process in a network namespace of its own. It is asked over a socket, one JSON line a question.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import struct
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, NoReturn

from hostguard.controls.egress.allowlist import DNS
from hostguard.rehearse import frames, links
from hostguard.rehearse.attempts import NAMED
from hostguard.rehearse.frames import Packet
from hostguard.rehearse.namespaces import CLONE_NEWNET, die_with_parent, unshare

WIRE = "world0"
TIMEOUT = 3.0
"""Seconds to wait for an answer over a wire without delay, before there is none."""
IP_PKTINFO, IPV6_RECVPKTINFO, IPV6_PKTINFO, IPV6_FREEBIND = 8, 49, 50, 78
# IPv4 sends from whatever a local route holds, IPv6 from an address alone: unless it is told that it may.


QUESTION = b"question"
"""What is no real question, and echoed."""


def answer(question: bytes) -> bytes:
    """What a resolver says (RFC 1035): every name leads to one address of IPv4, and has nothing else."""
    end = question.index(b"\0", 12) + 5
    has = question[end - 4 : end] == b"\0\1\0\1"
    record = b"\xc0\x0c" + struct.pack("!HHIH4s", 1, 1, 60, 4, socket.inet_aton(NAMED))
    header = question[:2] + struct.pack("!HHHHH", 0x8180, 1, has, 0, 0)
    return header + question[12:end] + (record if has else b"")


class Outside:
    """A process in another network namespace, and the line to it."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            _serve(theirs, serve)
        theirs.close()
        self._line = ours.makefile("rw", encoding="utf-8")
        self.hear()  # it has its namespace

    def hear(self) -> Any:
        return json.loads(self._line.readline())

    def ask(self, **question: Any) -> Any:
        print(json.dumps(question), file=self._line, flush=True)
        return self.hear()


def _serve(line: socket.socket, serve: Callable[[socket.socket], None]) -> NoReturn:
    die_with_parent()
    unshare(CLONE_NEWNET)
    links.up("lo")
    tell(line, True)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        serve(line)
    os._exit(0)


def tell(line: socket.socket, answer: Any) -> None:
    line.sendall(json.dumps(answer).encode() + b"\n")


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
        self.tap = frames.tap(WIRE)
        self.tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        self.hardware = frames.hardware_address(WIRE)
        self.selector = selectors.DefaultSelector()
        self.seen: list[Packet] = []
        self.sentinel = 0
        for protocol, port in ports:
            for family in (socket.AF_INET, socket.AF_INET6) if links.has_ipv6() else (socket.AF_INET,):
                self._listen(protocol, family, port)
        tell(line, {"hardware": self.hardware.hex()})

    def _listen(self, protocol: str, family: socket.AddressFamily, port: int) -> None:
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        opened = socket.socket(family, kind)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(("", port))
        if protocol == "tcp":
            opened.listen()
            self.selector.register(opened, selectors.EVENT_READ, self._accept)
            return
        if family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
        self.selector.register(opened, selectors.EVENT_READ, self._echo)

    def run(self, questions: Any) -> None:
        self.selector.register(self.tap, selectors.EVENT_READ, self._capture)
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
        if question["do"] == "seen":
            # Everything that left before the sentinel is in the tap before it.
            while self.sentinel != question["sentinel"]:
                self._capture(self.tap)
            seen, self.seen = self.seen, []
            tell(self.line, [asdict(packet) for packet in seen])
        elif question["do"] == "connect":
            tell(self.line, self._connect(question))

    def _capture(self, tap: socket.socket) -> bytes:
        """Take one frame off the wire, and remember what it was; empty for one of our own."""
        frame, place = tap.recvfrom(65536)
        if place[2] == socket.PACKET_OUTGOING:
            return b""
        packet = frames.parse(frame)
        if packet:
            self.seen.append(packet)
        self.sentinel = frames.sentinel_number(frame) or self.sentinel
        return frame

    def _connect(self, question: dict[str, Any]) -> dict[str, Any]:
        """Come in to the host, and see whether it answers: at all (`packets`), and with its words (`works`)."""
        family = frames.family_of(question["source"])
        host = links.HOST if family == socket.AF_INET else links.HOST_V6
        self.seen = []
        with socket.socket(family, socket.SOCK_STREAM) as caller:
            if family == socket.AF_INET6:
                caller.setsockopt(socket.IPPROTO_IPV6, IPV6_FREEBIND, 1)
            caller.bind((question["source"], 0))
            port = caller.getsockname()[1]
            caller.setblocking(False)
            caller.connect_ex((host, question["port"]))
            self.tap.send(frames.arp_request(self.hardware, links.WORLD, links.HOST))
            while not frames.is_arp_reply(self._capture(self.tap)):
                pass
            answers = [
                packet
                for packet in self.seen
                if (packet.protocol, packet.source_port, packet.destination_port)
                == (frames.TCP, question["port"], port)
            ]
            works = False
            if answers and question["talk"]:
                caller.settimeout(TIMEOUT)
                with contextlib.suppress(OSError):
                    works = caller.recv(16) == b"host"
        return {"left": bool(answers), "works": works}

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"world")

    def _echo(self, opened: socket.socket) -> None:
        """Answer from the very address that was asked: a wildcard socket would choose another."""
        data, ancillary, _, peer = opened.recvmsg(2048, 256)
        for level, kind, value in ancillary:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                # struct in_pktinfo: interface, the address to send from, the address of the packet
                info = struct.pack("@I4s4s", 0, value[8:12], b"\0" * 4)
            elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
                info = value[:16] + struct.pack("@I", 0)
            else:
                continue
            if data != QUESTION and opened.getsockname()[1] == DNS:
                data = answer(data)
            with contextlib.suppress(OSError):
                opened.sendmsg([data], [(level, kind, info)], 0, peer)


def container(line: socket.socket) -> None:
    """A container behind the host: it sends when told, and says when the host has dealt with it."""
    questions = line.makefile("r", encoding="utf-8")
    first = json.loads(questions.readline())
    links.address("eth0", links.CONTAINER, links.CONTAINER_V6)
    links.peer("eth0", bytes.fromhex(first["hardware"]), links.HOST_TO_CONTAINER, links.HOST_TO_CONTAINER_V6)
    links.default_route(links.HOST_TO_CONTAINER, links.HOST_TO_CONTAINER_V6)
    own = frames.hardware_address("eth0")
    tap = frames.tap("eth0")
    tell(line, {"hardware": own.hex()})
    for question in map(json.loads, questions):
        with socket.socket(frames.family_of(question["address"]), socket.SOCK_STREAM) as caller:
            caller.setblocking(False)
            caller.connect_ex((question["address"], question["port"]))
            port = caller.getsockname()[1]
            tap.send(frames.arp_request(own, links.CONTAINER, links.HOST_TO_CONTAINER))
            while not frames.is_arp_reply(tap.recv(65536)):
                pass
        tell(line, {"port": port})
