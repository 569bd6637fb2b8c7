"""What a fault rehearsal tells, as it travels in JSON. All times are seconds since the fault's first call."""

from __future__ import annotations

from typing import Literal, TypedDict

SCHEMA = "hostguard.faults/1"

Verdict = Literal["held", "wrong", "no_proof", "not_tried"]
"""`held`: with the gateway, application and provider saw what the policy allows. `no_proof`: the fault did not show
without the gateway, so that nothing was proved."""
Event = Literal["ejected", "recovered", "moved", "revoked", "killed", "started", "loaded"]


class Call(TypedDict):
    """What the application got for one request."""

    at: float
    seconds: float
    method: str
    status: int | None
    """None where nothing came that is an answer."""
    error: str
    """In words, "" where there is a status."""
    whole: bool
    """Whether the body came as long as it was said to be."""
    size: int
    """Bytes of the body that came."""
    retry_after: str
    """The header as the application got it; "" without one."""


class Reached(TypedDict):
    """What the provider saw of one request, or of one connection that never became one."""

    at: float
    region: int
    """1 is `host`, 2 and on are `fallback` in order."""
    address: str
    method: str
    """ "" for a connection without a request."""
    key: Literal["new", "old", "other", ""]
    tls: str
    """The version that was agreed on: TLSv1.3; "" where the handshake did not end."""
    status: int | None
    """What it answered; None where it gave no answer."""
    size: int
    """Bytes of the body that came."""


class Mark(TypedDict):
    """What happened besides calls, for the timeline: said by the stage that did it, or seen from outside."""

    at: float
    event: Event
    words: str


class Way(TypedDict):
    """One way to the provider: what the application got, and what the provider saw."""

    summary: str
    """In a few words: "5 x 503, 7 x 503 at once, reached 6"."""
    calls: list[Call]
    reached: list[Reached]
    not_tried: str
    """Why this way was not tried; "" where it was."""


class Fault(TypedDict):
    id: str
    """hangs, drip, 503-then-well, expired …"""
    title: str
    """What happens, for people: "503 twelve times, then well"."""
    provider: str
    """Of the policy: the provider with these numbers."""
    verdict: Verdict
    expected: str
    """What the policy's numbers say must come of it: "504 within 2 s"."""
    actual: str
    """What came of it, where it is not as expected; "" where it is."""
    key: str
    """The policy's key that decided: gateway.providers.payments.timeouts.try."""
    line: int | None
    """Of that key, or of the nearest above it that the file has."""
    value: str
    """What it is set to, or derived as: "2s"."""
    direct: Way
    article: Way
    """The article's cluster as written, with what it lacks to start at all."""
    gateway: Way
    marks: list[Mark]


class PolicyFile(TypedDict):
    path: str
    sha256: str


class Program(TypedDict):
    path: str
    version: str


class Summary(TypedDict):
    held: int
    wrong: int
    no_proof: int
    not_tried: int
    seconds: float


class Faults(TypedDict):
    schema: str
    generated: str
    policy: PolicyFile
    program: Program
    fast: bool
    """Whether ejection and interval were divided by ten."""
    summary: Summary
    not_rehearsed: list[str]
    """What this machine could not show at all, and why."""
    faults: list[Fault]
