"""A gateway whose providers have a fault each, asked without a pause: what its metrics, alerts and dashboard are tried
on."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hostguard.controls.gateway import envoy
from hostguard.controls.gateway.envoy.tree import as_json
from hostguard.policy.gateway import Credential, Gateway, Upstream
from hostguard.policy.keys import Place
from tests.gateway import certificates
from tests.gateway.provider import Behaviour, Provider, Request, answers, hangs, resets
from tests.gateway.proxy import (
    ADDRESS,
    FIRST,
    METRICS,
    MIB,
    PORT,
    PROVIDERS_PORT,
    REGIONS,
    SECOND,
    Proxy,
    ask,
    gateway,
    put,
    running,
    upstream,
)

JOB = "hostguard-gateway"
WELL, OFTEN = 30.0, 1_000_000
"""Seconds of an objective, and failures before a provider is cut, that none of these reaches."""
K1, K2 = "key-one-4f1d", "key-two-9a7c"
LEAVES = {"good": ("ca", 90), "wrong-ca": ("other-ca", 90), "soon": ("ca", 20), "this-week": ("ca", 5)}


@dataclass(frozen=True)
class Fault:
    """What a provider does, what the policy says of it, and the alerts that must stand for it, and no others."""

    alerts: frozenset[str] = frozenset()
    behave: Behaviour = field(default_factory=answers)
    policy: Mapping[str, Any] = field(default_factory=dict)
    retry: Mapping[str, Any] = field(default_factory=dict)
    certificate: str = "good"
    method: str = "GET"
    at_once: int = 1
    """Requests that are under way beside each other."""
    keys: Sequence[str] | None = None
    """The new key and the old one; () for files that are not there, None for a provider without."""


def slowly(seconds: float, then: Behaviour) -> Behaviour:
    def behave(request: Request, wire: ssl.SSLSocket) -> None:
        time.sleep(seconds)
        then(request, wire)

    return behave


def old_key_only(request: Request, wire: ssl.SSLSocket) -> None:
    answers(200 if request.headers["x-api-key"] == K1 else 401)(request, wire)


def fault(*alerts: str, **rest: Any) -> Fault:
    return Fault(frozenset(f"Hostguard{alert}" for alert in alerts), **rest)


FAULTS = {
    "well": fault(),
    "keyed": fault(keys=(K1, K1)),
    "slow": fault("ProviderSlow", behave=slowly(0.7, answers()), policy={"p99": 0.5}),
    "very-slow": fault(
        "ProviderSlow", "ProviderVerySlow", behave=slowly(2.1, answers()), policy={"p99": 0.5, "per_try": 30},
        at_once=4),
    "failing": fault("ProviderFails", "ProviderCut", behave=answers(503), policy={"consecutive_5xx": 5}),
    "hanging": fault(
        "ProviderTimeouts", "ProviderFails", behave=hangs, policy={"per_try": 0.3}, retry={"tries": 1}),
    "resetting": fault("ProviderResets", "ProviderFails", behave=resets, method="POST"),
    "limiting": fault("RateLimited", behave=answers(429, retry_after=30)),
    "second-region": fault("OnSecondRegion", policy={"hosts": REGIONS, "consecutive_5xx": 5}, behave=answers(503)),
    "full": fault(
        "BreakerOpen", "ProviderFails", behave=slowly(0.2, answers()), policy={"requests": 1}, at_once=4,
        method="POST"),
    "hammered": fault("RetriesLost", "ProviderFails", behave=answers(503), policy={"retries": 1}, at_once=6),
    "rotating": fault("OldKeyInUse", behave=old_key_only, keys=(K2, K1)),
    "refusing": fault("KeyRefused", behave=answers(401), keys=(K1, K1)),
    "keyless": fault("KeyMissing", "ProviderFails", keys=()),
    "untrusted": fault("VerificationFails", "ProviderFails", certificate="wrong-ca"),
    "ends-soon": fault("CertificateEnds", certificate="soon"),
    "ends-this-week": fault("CertificateEnds", "CertificateEndsThisWeek", certificate="this-week"),
}  # fmt: skip
"""By the name of the provider."""


def pki(folder: Path) -> None:
    for name in ("ca", "other-ca"):
        certificates.authority(folder, name)
    for name, (ca, days) in LEAVES.items():
        certificates.leaf(folder, name, ca, certificates.HOSTS, days)


LIMITS = {"connect": 2, "per_try": 2, "total": 6}
"""Seconds: one that hangs is given up while others look."""


def upstreams(folder: Path) -> list[Upstream]:
    found = []
    for at, (name, given) in enumerate(FAULTS.items()):
        said: dict[str, Any] = {"p99": WELL, "consecutive_5xx": OFTEN, **LIMITS, **given.policy}
        if given.keys is not None:
            place = folder / f"keys-{name}"
            place.mkdir()
            for which, key in zip(("new", "old"), given.keys, strict=False):
                put(place / which, key)
            said["credential"] = Credential(Place(name, new=f"{place}/new", old=f"{place}/old"), "X-Api-Key", "", None)
        said |= {"name": name, "listen": PORT + at, "port": PROVIDERS_PORT + at}
        found.append(upstream(retry=given.retry, **said))
    return found


@contextmanager
def asked(port: int, given: Fault) -> Iterator[None]:
    """Some requests a second to this port, from as many threads as it wants."""
    over = threading.Event()

    def application() -> None:
        while not over.wait(0.15):
            ask(port, method=given.method)

    threads = [threading.Thread(target=application, daemon=True) for _ in range(given.at_once)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@dataclass(frozen=True)
class Gateways:
    """`well` has a provider for each fault, `small` has no memory left, and `gone` is no more; `at` is where the
    metrics of each are."""

    whole: Gateway
    well: Proxy
    small: Proxy
    at: Mapping[str, str]

    def refuse(self) -> None:
        """Each is given a configuration that it can't take: a listener of a cluster that is nowhere, and no JSON."""
        stranger = upstream(name="stranger", listen=PORT + 60)
        more = replace(self.whole, upstreams=(*self.whole.upstreams, stranger))
        self.well.put("lds.json", as_json(envoy.listeners(more, self.well.places)))
        self.small.put("lds.json", "no JSON")


@contextmanager
def hosts(folder: Path) -> Iterator[Gateways]:
    """Within it every provider is asked without a pause."""
    pki(folder)
    ups = upstreams(folder)
    small = upstream(name="small", listen=PORT + 50, p99=WELL)
    with ExitStack() as open_:
        for up in ups:
            given = FAULTS[up.name]
            open_.enter_context(Provider(FIRST, up.port, folder, given.certificate, given.behave))
            if len(up.hosts) > 1:
                open_.enter_context(Provider(SECOND, up.port, folder))
        whole = gateway(*ups, ca=folder / "ca.pem", metrics_listen=METRICS)
        tight = gateway(small, ca=folder / "ca.pem", metrics_listen=METRICS + 1, heap_max=MIB)
        proxies = open_.enter_context(running(whole)), open_.enter_context(running(tight, wait=False))
        for up in (*ups, small):
            open_.enter_context(asked(up.listen or 0, FAULTS.get(up.name, Fault())))
        yield Gateways(
            whole, *proxies, {name: f"{ADDRESS}:{METRICS + at}" for at, name in enumerate(("well", "small", "gone"))}
        )
