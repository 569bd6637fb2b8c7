"""What is to be sent, and the signs by which it is known again on a wire, whoever sent what else."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import asdict, dataclass, field
from typing import Any, Dict, Iterator, List

MAGIC = b"h\x9eg\xd3"
FIRST_MARK = 20000
"""Marks are source ports, too, where a packet has nothing else to carry: above what services listen on."""


@dataclass(frozen=True)
class Shot:
    """One packet (or so) of one way out. `mark` is its own, and no other shot's."""

    way: str
    address: str
    port: int
    mark: int
    source: str = ""
    """An address of this host's, of the family of `address`."""
    interface: str = ""
    hardware: str = ""
    next_hardware: str = ""
    """Of the next hop, in hex as `hardware` is."""
    wait: float = 0.0
    """Seconds to wait for an answer; 0: nobody waits for one."""
    options: Dict[str, Any] = field(default_factory=dict)

    def plain(self) -> Dict[str, Any]:
        return asdict(self)

    @property
    def family(self) -> socket.AddressFamily:
        return family_of(self.address)

    @property
    def token(self) -> bytes:
        return token(self.mark)


class Unprepared(OSError):
    """The way could not even be tried: what refused it was no rule."""


@contextlib.contextmanager
def preparing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unprepared(error.errno, error.strerror) from None


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def token(mark: int) -> bytes:
    """Eight bytes: as long as a fragment can be short, and as a TCP header's two numbers are."""
    return MAGIC + struct.pack("!I", mark)


def label(mark: int) -> str:
    """A shot's mark as a label of a name: of digits alone, since a resolver may write letters in either case."""
    return "4747{:010d}".format(mark)


def signs(mark: int, port: int) -> List[bytes]:
    """What a frame of a shot has one of: its token, its label, or its ports, where they are all that the kernel lets us
    choose."""
    ports = [struct.pack("!HH", mark, port), struct.pack("!HH", port, mark)]
    return [token(mark), label(mark).encode("ascii"), *ports]


def shows(frame: bytes, looked_for: List[bytes], all_of: List[bytes]) -> bool:
    """Whether a frame has one sign of those looked for, and all of the others."""
    return any(sign in frame for sign in looked_for) and all(sign in frame for sign in all_of)
