"""What may be seen of a resource, by its kind."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

from hostguard.host.kinds import KINDS


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
    more: bool
    below: list[str]


class Unit(TypedDict):
    enabled: str
    active: str
    reload: str
    properties: dict[str, str]
    masked: bool
    drop_ins: list[str]
    conflicts: list[str]
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


class Process(TypedDict):
    pid: int
    command: str
    nofile: int
    cgroups: list[str]


class Running(Process):
    processes: int
    since_start: Process


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
    owner: bool
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
