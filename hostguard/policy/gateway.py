"""The gateway as its policy means it: every provider behind it, with all numbers filled in (pure)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FOLDER = "/etc/hostguard/gateway"
XDS = FOLDER + "/xds"
"""Envoy watches this folder: a file that is renamed into it is read."""
RUN = "/run/hostguard-gateway"
ADMIN = RUN + "/admin/admin.sock"
LOGS = "/var/log/hostguard-gateway"
RESOLVER = "127.0.0.83"
"""The host's own resolver, which knows the names of the policy alone."""


@dataclass(frozen=True)
class Tls:
    """Of every connection to a provider. There is no way to turn verification off."""

    min: str
    max: str
    ciphers: tuple[str, ...]
    ca: str


@dataclass(frozen=True)
class Retry:
    tries: int
    wait_max: float
    """The longest Retry-After that is waited for, in seconds."""
    safe: tuple[str, ...]
    """Methods that may be sent twice."""
    idempotency_header: str | None
    timeouts: bool


@dataclass(frozen=True)
class Payload:
    """Sizes in bytes. `schema` is JSON Schema for a 2xx answer of one of `types`; None: not looked at."""

    request_max: int
    response_max: int
    validate_max: int
    schema: Mapping[str, Any] | None
    types: tuple[str, ...]
    stream: bool


@dataclass(frozen=True)
class Upstream:
    """A provider behind the gateway. Times in seconds."""

    name: str
    hosts: tuple[str, ...]
    """The first is asked; the others are its further regions, in order."""
    port: int
    users: tuple[str, ...]
    listen: int | None
    group: str | None
    protocol: str
    requests: int
    connections: int
    pending: int
    retries: int
    connect: float
    per_try: float
    total: float
    idle: float
    consecutive_5xx: int
    interval: float
    ejection: float
    percent: int
    retry: Retry
    payload: Payload
    p99: float
    errors: float
    """The share of requests that may fail, from 0 to 1."""


@dataclass(frozen=True)
class Gateway:
    """Sizes in bytes, times in seconds."""

    manage: bool
    program: str
    sha256: str | None
    version_min: str
    account: str
    address: str
    workers: int
    tls: Tls
    connections_max: int
    heap_max: int
    buffer: int
    log: str
    metrics_listen: int | None
    metrics_users: tuple[str, ...]
    drain: float
    upstreams: tuple[Upstream, ...]
