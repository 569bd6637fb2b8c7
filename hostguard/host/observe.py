"""What this host tries to reach past its policy, as it happens: each attempt once, with whose it is, and how often.

What is told is bounded, whatever comes: a flood at the firewall must not also eat the machine.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import select
import time
from typing import Any, Dict, Generator, Iterator, Optional, Tuple

from . import evidence, nflog
from .dns_answers import Answers
from .failures import Failures
from .nflog import Listener, Packet
from .whose import Whose

Event = Dict[str, Any]
"""`is`: ready, evidence, attempt, again, answer, gateway, failed, lost or beat; the other keys follow from it."""

BEAT = 1.0
"""Seconds between two words of ours, which also find out whether anybody still listens."""
AT_ONCE = 256
SHARE = 4
"""Under a flood, one part in so many of a CPU's time is ours."""
MOST_KEPT = 4096
MOST_ASKED = 50
"""Processes that are looked for in a second."""

Key = Tuple[Any, ...]


class _Kept:
    """One destination of one account and process. An attempt is a socket: what has the same port is sent again."""

    def __init__(self, number: int, port: int) -> None:
        self.number, self.port = number, port
        self.attempts = self.packets = 0

    def count(self, port: int, new: bool) -> None:
        self.packets += 1
        self.attempts += new
        self.port = port


class _Tally:
    """Turns packets into events."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self.numbers = numbers
        self.whose = Whose()
        self.kept: Dict[Key, _Kept] = {}
        self.latest: Dict[Key, _Kept] = {}
        self.asked = 0
        self.untold = 0
        """Packets of destinations past the most that are kept."""

    def add(self, packet: Packet) -> Iterator[Event]:
        way, port = _way(packet, packet.uid)
        latest = self.latest.get(way)
        if latest and (port == latest.port or not _begins(packet)):
            latest.count(port, new=not port)
        elif latest and self.asked >= MOST_ASKED:
            latest.count(port, new=True)
        elif not latest and len(self.latest) >= MOST_KEPT:
            self.untold += 1
        else:
            yield from self._ask(packet, way, port)

    def _ask(self, packet: Packet, way: Key, port: int) -> Iterator[Event]:
        self.asked += 1
        account, process, has_socket = self.whose.of(packet)
        ending = not (account or has_socket or _begins(packet))
        key = (*way, account, process.get("command"), process.get("exe"), process.get("unit"), ending)
        kept = self.kept.get(key)
        if kept is None:
            kept = self.kept[key] = _Kept(next(self.numbers), port)
            yield {"is": "attempt", "id": kept.number, "at": time.time(), "account": account, "process": process,
                   "ending": ending, **_told(packet)}  # fmt: skip
        else:
            kept.count(port, new=True)
        # The last packets of a closed connection have no socket, so no account, any more.
        self.latest[way] = self.latest[_way(packet, None)[0]] = kept

    def rest(self) -> Iterator[Event]:
        """What came again since the last call."""
        self.asked = 0
        for kept in self.kept.values():
            if kept.packets:
                yield {"is": "again", "id": kept.number, "at": time.time(), "attempts": kept.attempts,
                       "packets": kept.packets}  # fmt: skip
                kept.attempts = kept.packets = 0
        if self.untold:
            yield {"is": "lost", "at": time.time(), "packets": self.untold, "why": "crowd"}
            self.untold = 0


def _way(packet: Packet, uid: Optional[int]) -> Tuple[Key, int]:
    """What makes a destination (or who is answered, and where), and the port at the other end of it."""
    what = (packet.verdict, packet.hook, packet.protocol, packet.destination)
    if packet.answer:
        return (*what, packet.source_port), packet.port
    # A container is known by its address; a host has many, and one account's are one.
    return (*what, packet.port, packet.source if packet.hook == "forward" else uid), packet.source_port


def _begins(packet: Packet) -> bool:
    return packet.protocol != "tcp" or packet.uid is not None or bool(packet.flags & nflog.SYN)


def _told(packet: Packet) -> Event:
    return {"verdict": packet.verdict, "hook": packet.hook, "answer": packet.answer, "protocol": packet.protocol,
            "from": packet.source, "from_port": packet.source_port, "to": packet.destination, "port": packet.port,
            "refusal": bool(packet.flags & nflog.RST)}  # fmt: skip


def observe(request: Dict[str, Any], wake: Optional[int] = None) -> Generator[Event, None, None]:
    """Events for `seconds`, or until something can be read from `wake`; at both ends the evidence that is asked for.
    With `gateway` (failures.py) also the requests that the gateway could not serve well.

    Raises HostError where this host has nothing to tell.
    """
    mode = nflog.mode()
    with contextlib.closing(Listener()) as packets, contextlib.ExitStack() as stack:
        answers, why = _answers(stack)
        yield {"is": "ready", "at": time.time(), "mode": mode, "no_names": why}
        yield {"is": "evidence", "at": time.time(), "found": evidence.collect(request["evidence"])}
        numbers = itertools.count()
        tally = _Tally(numbers)
        failures = None
        if request.get("gateway"):
            failures = stack.enter_context(contextlib.closing(Failures(request["gateway"], numbers)))
            yield from failures.look()
        yield from _until(request["seconds"], wake, packets, answers, tally, failures)
        yield from tally.rest()
        yield from failures.look() if failures else ()
        yield from _lost(packets)
        yield {"is": "evidence", "at": time.time(), "found": evidence.collect(request["evidence"])}


def _answers(stack: contextlib.ExitStack) -> Tuple[Optional[Answers], str]:
    try:
        return stack.enter_context(contextlib.closing(Answers())), ""
    except OSError as error:
        return None, error.strerror or str(error)


def _until(
    seconds: Optional[float],
    wake: Optional[int],
    packets: Listener,
    answers: Optional[Answers],
    tally: _Tally,
    failures: Optional[Failures],
) -> Iterator[Event]:
    poll = select.poll()
    for each in (packets, answers, wake):
        if each is not None:
            poll.register(each, select.POLLIN)
    beat = time.monotonic() + BEAT
    end = None if seconds is None else time.monotonic() + seconds
    while True:
        now = time.monotonic()
        if now >= beat:
            beat = now + BEAT
            yield from tally.rest()
            yield from _lost(packets)
            yield from failures.look() if failures else ()
            yield {"is": "beat"}
        if end is not None and now >= end:
            return
        came = poll.poll(max(0.0, min(beat, end or beat) - now) * 1000)
        began = time.monotonic()
        # Names first: the reader of an attempt wants to know what its address is called.
        for message in answers.read(AT_ONCE) if answers else ():
            yield {"is": "answer", "message": base64.b64encode(message).decode("ascii")}
        found = packets.read(AT_ONCE)
        for packet in found:
            yield from tally.add(packet)
        if wake is not None and any(descriptor == wake for descriptor, _ in came):
            return
        if len(found) >= AT_ONCE:
            time.sleep((time.monotonic() - began) * (SHARE - 1))


def _lost(packets: Listener) -> Iterator[Event]:
    lost = packets.take_lost()
    if lost:
        yield {"is": "lost", "at": time.time(), "packets": lost, "why": "flood"}
