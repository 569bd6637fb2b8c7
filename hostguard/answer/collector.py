"""What may be said to a request for evidence, by its collector."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from hostguard.host.evidence import COLLECTORS


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
    more: bool


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


class LogCounts(TypedDict):
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
    "notes": dict[str, str],
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
    "log-counts": dict[str, LogCounts] | None,
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
