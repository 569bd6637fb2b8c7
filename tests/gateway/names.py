"""A resolver that says what a test wants of each name."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

from dnslib import QTYPE, RCODE, RR, A, DNSRecord


@dataclass
class Names:
    """Addresses and TTL by name. `silent` it says nothing; `late` it says it after so many seconds; `code` is the
    answer's, as "SERVFAIL"."""

    address: tuple[str, int]
    of: dict[str, tuple[list[str], int]] = field(default_factory=dict)
    silent: bool = False
    late: float = 0.0
    code: str = "NOERROR"
    questions: list[str] = field(default_factory=list)

    def __enter__(self) -> Names:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(self.address)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.sendto(b"", self.address)  # a thread that waits for a socket keeps it open
        self.thread.join()
        self.socket.close()

    def _serve(self) -> None:
        while True:
            packet, sender = self.socket.recvfrom(4096)
            if not packet:
                return
            asked = DNSRecord.parse(packet)
            self.questions.append(str(asked.q.qname).rstrip("."))
            time.sleep(self.late)
            if not self.silent:
                self.socket.sendto(self._answer(asked), sender)

    def _answer(self, asked: DNSRecord) -> bytes:
        reply = asked.reply()
        reply.header.rcode = getattr(RCODE, self.code)
        addresses, ttl = self.of.get(str(asked.q.qname).rstrip("."), ([], 0))
        if self.code == "NOERROR" and asked.q.qtype == QTYPE.A:
            for each in addresses:
                reply.add_answer(RR(asked.q.qname, QTYPE.A, rdata=A(each), ttl=ttl))
        return bytes(reply.pack())
