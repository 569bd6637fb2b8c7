"""A name server of the world: it answers what a file says (addresses, or a word such as SERVFAIL), forgets nothing that
it was asked, and can be stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tests.lab import Lab
from tests.lab.process import silent

SERVER = """
import json, sys
from dnslib import AAAA, A, DNSRecord, QTYPE, RCODE, RR
from dnslib.server import BaseResolver, DNSLogger, DNSServer

class Resolver(BaseResolver):
    def resolve(self, request, handler):
        name, kind = str(request.q.qname).rstrip("."), QTYPE[request.q.qtype]
        with open(sys.argv[3], "a") as log:
            log.write(name + "\\n")
        with open(sys.argv[2]) as zone:
            said = json.load(zone)
        reply = request.reply()
        found = said.get(name, [])
        if isinstance(found, str):
            reply.header.rcode = getattr(RCODE, found)
            return reply
        for address in found:
            if kind == ("AAAA" if ":" in address else "A"):
                data = AAAA(address) if kind == "AAAA" else A(address)
                reply.add_answer(RR(name, request.q.qtype, rdata=data, ttl=said["ttl"]))
        return reply

quiet = DNSLogger(logf=lambda _: None)
servers = [DNSServer(Resolver(), address=sys.argv[1], port=53, tcp=tcp, logger=quiet) for tcp in (False, True)]
print("ready", flush=True)
servers[0].start_thread()
servers[1].start()
"""


class NameServer:
    def __init__(self, lab: Lab, address: str, folder: Path) -> None:
        self.zone, self.log = folder / "zone.json", folder / "asked"
        self.answer({})
        self.log.touch()
        self.process = lab.world.start_program([sys.executable, "-c", SERVER, address, str(self.zone), str(self.log)])
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == "ready"

    def answer(self, names: Mapping[str, Sequence[str] | str], ttl: int = 1) -> None:
        """From now on these names lead to these addresses, and others nowhere."""
        beside = self.zone.with_suffix(".new")
        beside.write_text(json.dumps({**names, "ttl": ttl}))
        beside.rename(self.zone)

    def asked(self) -> set[str]:
        """Every name that ever came here."""
        return set(self.log.read_text().split())

    def silent(self) -> AbstractContextManager[None]:
        return silent(self.process)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
