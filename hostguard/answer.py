"""What a host may answer: one schema for each question, and the one door that its bytes come in by (pure).

A host may be broken or hostile. Nothing of it is taken for what it says before it went through here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal, NoReturn, NotRequired, TypedDict

from hostguard.host.evidence import COLLECTORS
from hostguard.host.kinds import KINDS, sysctl
from hostguard.host.resource import (
    ABSENT,
    MISSING,
    NOT_APPLICABLE,
    NOT_RUNNING,
    UNREADABLE,
    VALUE,
    HostError,
    Observation,
    Resource,
    unreadable,
)
from hostguard.shape import Misfit, fit
from hostguard.visible import cut

LONGEST_NUMBER = 25
"""Digits. Python refuses to read some thousands of them, in a way of its own."""
MOST = 10_000
"""Generations, or resources: each is a line of what is shown. An allowlist of any length is one resource."""


class PolicyName(TypedDict):
    path: str
    sha256: str


class Snapshot(TypedDict):
    """Of `read` and `image`. What is in it is looked at one by one: see `observed` and `evidence`."""

    resources: list[Any]
    observations: dict[str, Any]
    leftovers: list[Wanted] | None
    evidence: dict[str, Any]


class Wanted(TypedDict):
    """As much of a resource as they all have."""

    id: str
    kind: str
    control: str


class Generation(TypedDict):
    number: int
    created: str
    policy: PolicyName


class Record(Generation):
    status: str
    by: str
    changes: int
    to: int | None


class History(TypedDict):
    records: list[Record]


class FileTrace(TypedDict):
    changed: str
    owner: str
    package: str | None


class Traces(TypedDict):
    setters: dict[str, dict[str, str]]
    files: dict[str, FileTrace]
    started: dict[str, str]


class Drift(TypedDict):
    generation: Generation
    resources: list[Wanted]
    observations: dict[str, Any]
    leftovers: list[Wanted] | None
    evidence: dict[str, Any]
    traces: Traces


class Outcome(TypedDict):
    outcome: str


class Told(Outcome):
    changes: list[tuple[str, str, str, str, str, str]]
    owed: list[str]
    missing: NotRequired[list[str]]
    outlived: NotRequired[list[str]]


class Blocked(Outcome):
    obstacles: list[str]


class Done(Told):
    generation: int
    session: NotRequired[str]


class Failed(Outcome):
    generation: int
    trouble: list[str]
    error: NotRequired[str]
    restarted: NotRequired[list[str]]


class Confirmed(Outcome):
    generation: int


class RolledBack(Told):
    generation: int
    to: int
    undone: list[int]
    unseen: NotRequired[str]


class WouldGoBack(Outcome):
    changes: list[tuple[str, str, str, str, str, str]]
    to: int
    gone: list[int]
    undone: list[int]


class Proven(TypedDict):
    status: Literal["held", "out", "unknown", "absent"]
    evidence: str


class Proof(TypedDict):
    results: list[Proven]


class Login(TypedDict):
    files: dict[str, Literal["there", "absent", "other", "written"]]


class Refusal(TypedDict):
    error: str


SCHEMAS: dict[str, Any] = {
    "read": Snapshot,
    "image": Snapshot,
    "history": History,
    "drift": Drift,
    "confirm": Confirmed,
    "prove": Proof,
    "login": Login,
    "apply": {"unchanged": Told, "would change": Told, "blocked": Blocked, "failed": Failed, "unconfirmed": Done,
              "applied": Done},
    "rollback": {"rolled back": RolledBack, "unchanged": RolledBack, "unconfirmed": RolledBack, "failed": Failed,
                 "would change": WouldGoBack},
}  # fmt: skip
"""By what was asked; where there is more than one, by the outcome that the answer tells."""


class Process(TypedDict):
    pid: NotRequired[int]
    command: NotRequired[str]
    exe: NotRequired[str]
    unit: NotRequired[str]


class Ready(TypedDict):
    at: float
    mode: Literal["enforce", "observe"]
    no_names: str


class Gathered(TypedDict):
    at: float
    found: dict[str, Any]


Attempt = TypedDict("Attempt", {
    "id": int, "at": float, "account": str, "process": Process, "verdict": str, "hook": str, "answer": bool,
    "protocol": str, "from": str, "from_port": int, "to": str, "port": int, "refusal": bool, "ending": bool,
})  # fmt: skip


class Again(TypedDict):
    id: int
    at: float
    attempts: int
    packets: int


class Lost(TypedDict):
    at: float
    packets: int
    why: Literal["flood", "crowd", "lines", "odd", "kinds"]


class Name(TypedDict):
    message: str


class OfGateway(TypedDict):
    at: float
    state: Literal["followed", "off", "missing", "unreadable"]
    why: str
    log: str


class FailedRequest(TypedDict):
    id: int
    at: float
    provider: str
    users: list[str]
    status: int
    flags: str
    detail: str
    refused: str
    failure: str
    host: str
    tries: int
    retry_after: str


class Beat(TypedDict):
    pass


EVENTS: dict[str, Any] = {"ready": Ready, "evidence": Gathered, "attempt": Attempt, "again": Again, "lost": Lost,
                          "answer": Name, "gateway": OfGateway, "failed": FailedRequest, "beat": Beat}  # fmt: skip


def read(do: str, text: bytes | str) -> dict[str, Any]:
    """A host's answer to a question; {"error": …} where it says why it has none. Raises HostError for anything else."""
    try:
        node = json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            object_pairs_hook=_once, parse_constant=_no_number, parse_int=_whole, parse_float=_real,
        )  # fmt: skip
    except RecursionError:
        raise HostError("the host's answer makes no sense: its lists are too deep within each other") from None
    except ValueError as error:  # also of bytes that are no UTF-8
        raise HostError(f"the host's answer makes no sense: expected JSON: {error}") from None
    return checked(do, node)


def checked(do: str, node: Any) -> dict[str, Any]:
    """The same of an answer that is plain JSON already."""
    try:
        fit(dict[str, Any], node)
        if "error" in node and "outcome" not in node:
            # A transaction that failed has an error too, and tells what became of it.
            fit(Refusal, node)
            return {"error": cut(node["error"])}
        fit(_schema(do, node), node)
        for name in ("records", "resources", "leftovers"):
            if len(node.get(name) or ()) > MOST:
                raise Misfit(f"at {name}: found {len(node[name])}, expected at most {MOST}")
    except Misfit as misfit:
        raise HostError(f"the host's answer to {do!r} makes no sense: {misfit}") from None
    found: dict[str, Any] = node
    return found


def _schema(do: str, node: Mapping[str, Any]) -> Any:
    key, schemas = ("is", EVENTS) if do == "observe" else ("outcome", SCHEMAS[do])
    if not isinstance(schemas, dict):
        return schemas
    which = str(node.get(key))
    if which not in schemas:
        raise Misfit(f"at {key}: found {which[:40]!a}, expected one of {', '.join(schemas)}")
    return schemas[which]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:40]!a} is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"found {text}, expected a number")


def _whole(text: str) -> int:
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"found a number of {len(text)} digits")
    return int(text)


def _real(text: str) -> float:
    found = float(text)
    return found if math.isfinite(found) else _no_number(text[:40])


# What may be seen of a resource, by its kind.


class File(TypedDict):
    type: str
    content: str
    mode: str
    owner: str
    group: str


class Limit(TypedDict):
    limit: str
    at: str


class PamLimit(TypedDict):
    soft: NotRequired[Limit]
    hard: NotRequired[Limit]
    others: list[str]
    passed: list[str]


class Sysctl(TypedDict):
    live: str | None
    boot: str | None
    boot_from: str | None
    later: str | None
    trouble: str
    foreign: bool
    takes: NotRequired[list[str]]
    lacks: NotRequired[str]


class NoMount(TypedDict):
    type: str


class Mount(NoMount):
    options: list[str]
    size: str
    mode: str
    uid: str
    gid: str
    below: list[str]


class Unit(TypedDict):
    enabled: str
    active: str
    reload: str
    properties: dict[str, str]
    masked: bool
    drop_ins: list[str]
    assigned: dict[str, tuple[str, str]]
    held: bool
    forgotten: str
    waits: bool
    mark: str | None
    flushed: NotRequired[str]


class Part(TypedDict):
    version: str
    active: list[str]
    warming: list[str]
    errors: dict[str, str]


class Proxy(TypedDict):
    clusters: Part
    listeners: Part


class ProxyFiles(TypedDict):
    clusters: tuple[Literal["value", "absent"], File | None, str]
    listeners: tuple[Literal["value", "absent"], File | None, str]


class Xds(TypedDict):
    files: ProxyFiles
    running: Proxy | None


class Process_(TypedDict):
    pid: int
    command: str
    nofile: int
    cgroups: list[str]


class Running(Process_):
    processes: int
    since_start: Process_


class Set(TypedDict):
    type: str
    header: str
    entries: list[str]


class Ruleset(TypedDict):
    policy: str
    rules: list[str] | None
    canonical: list[str] | None
    jumps: list[int]
    behind: int
    before: str
    table: bool
    dormant: bool
    sending: list[str]
    backend: Literal["nft", "legacy"]
    elsewhere: bool


class Frames(TypedDict):
    nft: bool
    leaving: dict[str, str]
    leased: list[str]
    bridged: list[str]
    vrf: list[str]
    chains: dict[str, list[str]] | None
    canonical: dict[str, list[str]] | None


VALUES: dict[str, Any] = {
    "file": File, "lookup": File, "pam_limit": PamLimit, "sysctl": Sysctl, "mount": NoMount, "unit": Unit,
    "xds": Xds, "slice": dict[str, str], "process": Running, "ipset": Set, "ruleset": Ruleset, "frames": Frames,
}  # fmt: skip
if VALUES.keys() != KINDS.keys():  # of another kind an answer could not be checked
    raise ImportError(f"the types of what is seen and the kinds differ in {sorted(VALUES.keys() ^ KINDS.keys())}")
MAY_BE_ABSENT = ("file", "lookup", "mount", "slice", "ipset")
"""What these kinds take for a difference; of the others there is always something to be seen."""
MOST_PORTS = 1 << 20


def observed(resource: Resource, node: Any, *, image: bool) -> Observation:
    """What a host says that it saw of a resource: unreadable, with the reason, where that makes no sense. Only an
    `image` may leave to a host that runs what it can't tell."""
    if node is None:
        return unreadable(f"{resource['id']}: the host did not answer")
    try:
        fit(tuple[str, Any, str], node)
        seen, kind = Observation(*node), resource["kind"]
        if seen.state == VALUE:
            _value(resource, seen.value)
        elif seen.state == UNREADABLE:
            return seen if seen.reason.strip() else unreadable(f"{resource['id']}: the host does not say why")
        elif seen.state == ABSENT:
            _need(kind in MAY_BE_ABSENT, f"of a {kind} there is always something to be seen, and it says absent")
        elif seen.state == MISSING:
            _need(kind == "unit" and not resource.get("ours"), f"no {kind} can be missing, and it says so")
            _need(bool(seen.reason.strip()), "it says missing, and not what")
        elif seen.state in (NOT_APPLICABLE, NOT_RUNNING):
            may = image if seen.state == NOT_RUNNING else _need_not_apply(resource)
            _need(may, f"it says {seen.state.replace('_', ' ')}, which this {kind} can't be")
            _need(bool(seen.reason.strip()), f"it says {seen.state.replace('_', ' ')}, and not why")
        else:
            _need(False, f"it says {seen.state[:40]!a}, which is no state")
    except Misfit as misfit:
        return unreadable(f"{resource['id']}: the host's answer makes no sense: {misfit}")
    return seen


def _need_not_apply(resource: Resource) -> bool:
    """A service that does not run, a kernel without IPv6 or without a hook for frames, and in a container a module of
    the machine's. All else applies everywhere."""
    kind = resource["kind"]
    if kind in ("file", "sysctl"):
        return bool(resource.get("module"))
    return kind in ("process", "frames") or (kind == "ruleset" and resource["family"] == "ipv6")


def _need(holds: bool, said: str) -> None:
    if not holds:
        raise Misfit(said)


def _value(resource: Resource, node: Any) -> None:
    kind = resource["kind"]
    _need(kind in VALUES, f"found the kind {kind[:40]!a}, expected one of {', '.join(VALUES)}")
    fit(VALUES[kind], node)
    if kind == "mount" and node["type"] == "tmpfs":
        fit(Mount, node)
    if kind == "slice":
        # Of these every hierarchy of control groups has a file.
        wanted = [field for field in ("memory_max", "cpu_quota", "tasks_max") if resource.get(field) is not None]
        lacking = next((field for field in wanted if field not in node), "")
        _need(not lacking, f"there is no {lacking!r}, which was asked for")
    if kind == "sysctl" and resource.get("compare") == "ports":
        for text in (node["live"], node["boot"], resource["value"]):
            ports(text or "")


def ports(text: str) -> set[int]:
    """The kernel's list of ports. Raises Misfit for one that holds what no port is, or that would not fit in memory."""
    spans = [part.strip().partition("-") for part in text.split(",") if part.strip()]
    numbers = [(first, last or first) for first, _, last in spans]
    right = all(re.fullmatch("[0-9]{1,5}", each) for pair in numbers for each in pair)
    _need(
        right and sum(int(last) - int(first) + 1 for first, last in numbers if int(last) >= int(first)) <= MOST_PORTS,
        f"found {text[:40]!a}, expected a list of ports",
    )
    return sysctl.ports(text)


# What may be said to a request for evidence, by its collector.


class FullProcess(TypedDict):
    pid: int
    command: str
    unit: str
    account: str
    files: int
    soft: int


class OpenFiles(TypedDict):
    counted: int
    full: list[FullProcess]


class OpenSSL(TypedDict):
    binary: str | None
    library: str | None


class Stale(TypedDict):
    pid: int
    command: str
    path: str


class Clock(TypedDict):
    code: int
    status: int
    maxerror: int
    esterror: int


class Swap(TypedDict):
    swaps: str
    kinds: dict[str, str]


class Rules(TypedDict):
    backend: str
    rules: str | None
    tables: NotRequired[list[str]]


class OtherBackend(TypedDict):
    ipv4: Rules
    ipv6: Rules


class Entry(TypedDict):
    path: str
    link: bool
    leads_out: str
    folder: bool
    mode: int
    uid: int
    gid: int


class Listeners(TypedDict):
    tcp: str | None
    tcp6: str | None
    udp: str | None
    udp6: str | None


class Sockets(TypedDict):
    dumps: dict[str, list[str]]
    holders: dict[str, tuple[int, str]]
    accounts: dict[str, str]
    packet: list[tuple[int, str, str]]
    raw: list[tuple[int, str, str]]
    session: str


class PacketSockets(TypedDict):
    packet: list[tuple[int, str, str]]
    xdp: list[tuple[int, str]]
    held: bool


class Table(TypedDict):
    policies: dict[str, str]
    rules: dict[str, list[str]]


class Families(TypedDict):
    ipv4: dict[str, Table]
    ipv6: dict[str, Table] | None


class AllRules(TypedDict):
    iptables: Families
    nft: list[dict[str, Any]]


class Packets(TypedDict):
    ipv4: int | None
    ipv6: int | None


class Denied(TypedDict):
    packets: Packets
    accounts: dict[str, int]


class Routes(TypedDict):
    uids: dict[str, int | None]
    found: list[str]


class AddressRoute(TypedDict):
    address: str
    error: str
    device: str
    source: str
    ours: bool


class SetElements(TypedDict):
    type: str
    elements: list[str | None]


class WayOut(TypedDict):
    uid: int | None
    code: str
    unasked: str
    addresses: list[AddressRoute]
    sets: dict[str, SetElements]
    dormant: list[str]
    egress: list[str]


class Envoy(TypedDict):
    config_dump: NotRequired[dict[str, Any]]
    clusters: NotRequired[str]
    certs: NotRequired[dict[str, Any]]


class RunningProgram(TypedDict):
    pid: int
    exe: str
    same: bool


class EnvoyProgram(TypedDict):
    there: bool
    open_to: list[str]
    sha256: str
    version: str
    running: list[RunningProgram]


class EnvoyProcess(TypedDict):
    pid: int
    uid: int
    heap: int
    files: int
    files_most: int
    no_new_privileges: bool
    filtered: bool
    capabilities: int
    read_only: bool
    dumps: bool


class Accounts(TypedDict):
    users: dict[str, int | None]
    groups: dict[str, int | None]


class SecretFile(TypedDict):
    age: int
    size: int
    in_memory: bool
    owner: str
    readers: list[str]
    more: bool


class Authorities(TypedDict):
    all: int
    days: list[int]


class Lookup(TypedDict):
    addresses: list[str]
    error: str


class Denial(TypedDict):
    account: str
    protocol: str
    to: str
    port: int
    count: int


class Tasks(TypedDict):
    unit: str
    tasks: int
    most: int


class UnitWords(TypedDict):
    counts: dict[str, int]
    waits: list[int]


Group = TypedDict("Group", {"from": str, "to": str, "port": int, "state": str, "account": str, "process": str,
                            "count": int})  # fmt: skip


class Connections(TypedDict):
    groups: list[Group]
    left_out: int


class Queue(TypedDict):
    address: str
    port: int
    waiting: int
    backlog: int
    half_open: int
    account: str
    process: str
    unit: str


class Answer(TypedDict):
    code: str
    addresses: list[str]
    ttl: int


class Offset(TypedDict):
    offset: float
    error: str


class Certificate(TypedDict):
    subject: str
    issuer: str
    names: list[str]
    begins: int
    ends: int
    own: bool


class Handshake(TypedDict):
    stage: Literal["resolve", "connect", "files", "tls", ""]
    error: str
    address: str
    connect: float
    round_trip: float
    sent_again: int
    handshake: float
    version: str
    alert: int
    verify: int
    asked: bool
    chain: list[Certificate]


class Shaken(TypedDict):
    said: NotRequired[Handshake]
    unreadable: NotRequired[str]


class Handshakes(TypedDict):
    at: int
    found: list[Shaken]


class FileCertificate(Certificate):
    days: int


class CertificateFile(TypedDict):
    error: str
    all: int
    first: list[FileCertificate]


class LoggedKind(TypedDict):
    provider: str
    status: int
    slow: bool
    cluster: str
    host: str
    to: str
    flags: str
    detail: str
    failure: str
    refused: str
    tls: str
    count: int
    first: float
    last: float
    busiest: int
    tries: int
    retry_after: tuple[int, int] | None
    odd_retry_after: int
    parts: dict[str, tuple[int, int]]
    cert_ends: int
    cert_issuer: str


class GatewayLog(TypedDict):
    there: bool
    start: float
    kinds: list[LoggedKind]
    usual: dict[str, dict[str, int]]
    more: int
    odd: int


class GatewayState(TypedDict):
    running: bool
    now: float
    own: dict[str, int]
    clusters: dict[str, dict[str, int]]
    members: str
    certificates: dict[str, Any]
    versions: dict[str, tuple[str, str]]


SAID: dict[str, Any] = {
    "text": str | None,
    "texts": dict[str, str | None],
    "secret-files": dict[str, SecretFile | None],
    "processes": dict[str, list[list[str]]],
    "open-files": OpenFiles,
    "uname": tuple[str, str, str, str, str],
    "cpus": int,
    "openssl": OpenSSL,
    "stale-libraries": list[Stale],
    "adjtimex": Clock,
    "swap": Swap,
    "other-backend": OtherBackend,
    "units": list[str],
    "chains": list[str],
    "rules": AllRules,
    "routes": Routes,
    "way-out": WayOut,
    "denied": Denied,
    "firewalld": str,
    "tree": list[Entry],
    "places": dict[str, Entry | None],
    "unit-environment": dict[str, list[str]],
    "listeners": Listeners,
    "sockets": Sockets,
    "packet-sockets": PacketSockets,
    "unix-listeners": dict[str, list[str]],
    "envoy": Envoy,
    "envoy-program": EnvoyProgram,
    "envoy-processes": list[EnvoyProcess],
    "envoy-injections": dict[str, int],
    "accounts": Accounts,
    "certificate-ends": dict[str, int],
    "unit-words": dict[str, tuple[int, float]],
    "gateway-log": GatewayLog,
    "gateway-state": GatewayState,
    "authorities": Authorities,
    "lookups": dict[str, Lookup],
    "denials": list[Denial] | None,
    "set-members": dict[str, list[str] | None],
    "tasks": list[Tasks],
    "log-counts": dict[str, UnitWords] | None,
    "connections": Connections,
    "queues": list[Queue],
    "kernel-log": list[str] | None,
    "answers": dict[str, dict[str, Answer]],
    "time-offsets": dict[str, Offset],
    "handshakes": Handshakes,
    "certificates": dict[str, CertificateFile | None],
}
if SAID.keys() != COLLECTORS.keys():
    raise ImportError(
        f"the types of evidence lack or exceed the collectors by {sorted(SAID.keys() ^ COLLECTORS.keys())}"
    )


def evidence(request: Mapping[str, Any], node: Any, *, image: bool) -> dict[str, Any]:
    """What a host says to a request for evidence: {"said": …}, {"unreadable": why}, or of an image {"not_running":
    why}."""
    if node is None:
        return {"unreadable": "the host did not answer"}
    try:
        fit(dict[str, Any], node)
        for name in ("unreadable", "not_running"):
            if name in node:
                fit(str, node[name], name)
                _need(bool(node[name].strip()), f"at {name}: found no word, expected why")
                _need(image or name != "not_running", "it says that it does not run, and answers")
                return {name: node[name]}
        _need("said" in node, "there is neither 'said' nor 'unreadable'")
        fit(SAID[request["collect"]], node["said"], "said")
    except Misfit as misfit:
        return {"unreadable": f"the host's answer makes no sense: {misfit}"}
    return {"said": node["said"]}
