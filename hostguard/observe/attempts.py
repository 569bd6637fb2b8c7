"""The host's events as attempts, each with the names that its address was seen under, and as requests that failed."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hostguard.policy.grammar import Address

Event = Mapping[str, Any]
MOST, MOST_OF_ONE = 65_536, 64
"""Addresses whose names are kept, and names of one: a host may tell of any number."""


@dataclass(frozen=True)
class Attempt:
    """One destination of one account and process; of an answer, who is answered and on which port of ours.

    `account` is empty where no process sent it, `command`, `exe` and `unit` where the process was gone by then.
    `ending`: the last that the kernel says of a connection that a process has closed, so without its account.
    """

    denied: bool
    forwarded: bool
    answer: bool
    refusal: bool
    ending: bool
    protocol: str
    source: Address
    peer: Address
    port: int
    account: str
    pid: int
    command: str
    exe: str
    unit: str


def of(event: Event) -> Attempt:
    """The attempt in an event that tells one."""
    process = event["process"]
    return Attempt(
        denied=event["verdict"] == "deny",
        forwarded=event["hook"] == "forward",
        answer=event["answer"],
        refusal=event["answer"] and event["refusal"],
        ending=event["ending"],
        protocol=event["protocol"],
        source=ipaddress.ip_address(event["from"]),
        peer=ipaddress.ip_address(event["to"]),
        port=event["from_port"] if event["answer"] else event["port"],
        account=event["account"],
        pid=process.get("pid", 0),
        command=process.get("command", ""),
        exe=process.get("exe", ""),
        unit=process.get("unit", ""),
    )


@dataclass(frozen=True)
class Failure:
    """Requests to one provider that failed in the same way; `tries` and `retry_after` are the first one's.

    `users` may use the provider: the gateway does not know which of them asked. `status` is 0 where nobody was left to
    answer. `flags`, `detail` and `failure` are Envoy's words; `refused` is ours, where an answer was not let through.
    """

    provider: str
    users: tuple[str, ...]
    status: int
    flags: str
    detail: str
    refused: str
    failure: str
    host: str
    tries: int
    retry_after: str


def failed(event: Event) -> Failure:
    """The failure in an event that tells one."""
    said = {each.name: event[each.name] for each in fields(Failure)}
    return Failure(**{**said, "users": tuple(said["users"])})


@dataclass
class Names:
    """The names that addresses were seen under in DNS answers, the latest last."""

    seen: dict[Address, dict[str, None]] = field(default_factory=dict)

    def hear(self, encoded: str) -> None:
        for name, address in addresses(base64.b64decode(encoded)):
            if address not in self.seen and len(self.seen) >= MOST:
                del self.seen[next(iter(self.seen))]
            known = self.seen.setdefault(address, {})
            if name not in known and len(known) >= MOST_OF_ONE:
                del known[next(iter(known))]
            known.pop(name, None)
            known[name] = None

    def of(self, address: Address) -> list[str]:
        return list(self.seen.get(address, ()))


def addresses(message: bytes) -> Iterator[tuple[str, Address]]:
    """The name that a DNS answer was asked for, with each address in it; nothing where it is no DNS message."""
    import dns.exception
    import dns.message
    import dns.rdatatype

    try:
        answer = dns.message.from_wire(message, ignore_trailing=True)
        name = answer.question[0].name.to_text(omit_final_dot=True).lower()
    except (dns.exception.DNSException, ValueError, IndexError):
        return
    for records in answer.answer:
        if records.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            for record in records:
                yield name, ipaddress.ip_address(record.address)
