"""The real Envoy with what hostguard compiles for it, and an application that asks it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hostguard.controls.gateway import envoy
from hostguard.controls.gateway.envoy.places import Places
from hostguard.controls.gateway.envoy.tree import as_json
from hostguard.host.envoy_admin import DUMP
from hostguard.policy.gateway import Gateway, Payload, Retry, Tls, Upstream
from tests.patience import ended, until
from tests.programs import ENVOY

HERE = f"127.{100 + os.getpid() // 250 % 100}.{os.getpid() % 250 + 1}"
"""The loopback addresses of this process of the tests: others beside it have others."""
FIRST, SECOND, MOVED = (f"{HERE}.{last}" for last in (1, 2, 3))
RESOLVER = (f"{HERE}.83", 5300)
ADDRESS, PORT, METRICS, PROVIDERS_PORT = f"{HERE}.84", 8400, 8490, 8443
REGIONS = API, EU = "api.provider.test", "eu.provider.test"
MIB = 2**20
CIPHERS = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384")

RETRY = Retry(tries=4, wait_max=4, safe=("GET", "HEAD", "OPTIONS"), idempotency_header="Idempotency-Key", timeouts=True)
PAYLOAD = Payload(10 * MIB, 10 * MIB, MIB, schema=None, types=("application/json",), stream=False)
UPSTREAM = Upstream(
    name="payments", hosts=(API,), port=PROVIDERS_PORT, users=("shop",), listen=PORT, group=None, protocol="auto",
    requests=3200, connections=3200, pending=1000, retries=3200, connect=10, per_try=20, total=60, idle=60,
    consecutive_5xx=5, interval=10, ejection=30, percent=100, retry=RETRY, payload=PAYLOAD, p99=0.8, errors=0.01,
)  # fmt: skip
GATEWAY = Gateway(
    manage=True, program="/usr/bin/envoy", sha256=None, version_min="1.40", account="gateway", address=ADDRESS,
    workers=1, tls=Tls("1.2", "1.3", CIPHERS, "/etc/ssl/certs/ca-certificates.crt"), connections_max=1000,
    heap_max=400 * MIB, buffer=32 * 1024, log="all", metrics_listen=None, metrics_users=(), drain=10,
    upstreams=(UPSTREAM,),
)  # fmt: skip


def gateway(*upstreams: Upstream, ca: Path, **changes: Any) -> Gateway:
    return replace(GATEWAY, upstreams=upstreams or (UPSTREAM,), tls=replace(GATEWAY.tls, ca=str(ca)), **changes)


def upstream(*, retry: Mapping[str, Any] = {}, payload: Mapping[str, Any] = {}, **changes: Any) -> Upstream:
    changed = {"retry": replace(RETRY, **retry), "payload": replace(PAYLOAD, **payload), **changes}
    return replace(UPSTREAM, **changed)


@dataclass(frozen=True)
class Got:
    """An application's view of an answer: status 0 where none came, `whole` False where it was cut."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = True
    seconds: float = 0.0


class OverSocket(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def ask(
    where: str | int = PORT,
    path: str = "/v1/pay",
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] = {},
    timeout: float = 120,
) -> Got:
    """`where` is a port of the gateway, or the path of a socket."""
    began = time.monotonic()
    wire = OverSocket(where, timeout) if isinstance(where, str) else http.client.HTTPConnection(ADDRESS, where, timeout)
    status, got = 0, {}
    try:
        wire.connect()
        with suppress(OSError):  # the answer may be there before all is sent
            wire.request(method, path, body, dict(headers))
        answer = wire.getresponse()
        status, got = answer.status, {name.lower(): value for name, value in answer.getheaders()}
        return Got(status, got, answer.read(), seconds=time.monotonic() - began)
    except (OSError, http.client.HTTPException):
        return Got(status, got, whole=False, seconds=time.monotonic() - began)
    finally:
        wire.close()


@dataclass
class Proxy:
    folder: Path
    places: Places
    process: subprocess.Popen[bytes]

    def admin(self, path: str, method: str = "GET") -> Got:
        return ask(self.places.admin, path, method=method)

    def stop(self) -> None:
        self.process.terminate()
        ended(self.process)

    def put(self, name: str, text: str) -> None:
        put(Path(self.places.xds, name), text)

    def change(self, g: Gateway) -> None:
        """As for a provider that is added: clusters first."""
        for name, tree in (("cds", envoy.clusters(g, self.places)), ("lds", envoy.listeners(g, self.places))):
            self.put(f"{name}.json", as_json(tree))
            until(lambda tree=tree: tree["version_info"] in self.admin(DUMP).body.decode(), f"the new {name}")

    def addresses(self, provider: str = "payments") -> list[str]:
        lines = self.admin("/clusters").body.decode().splitlines()
        return [
            line.split("::")[1] for line in lines if line.startswith(f"{provider}::") and "::health_flags::" in line
        ]

    def ejections(self, provider: str = "payments") -> int:
        """How often an endpoint of it was cut."""
        name = f"cluster.{provider}.outlier_detection.ejections_enforced_total"
        said = self.admin(f"/stats?filter=^{name}$").body.decode()
        return int(said.removeprefix(f"{name}: ") or 0)

    def logged(self, provider: str = "payments") -> list[dict[str, Any]]:
        path = Path(self.places.log)
        found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [each for each in found if each["provider"] == provider]

    def said(self) -> str:
        return (self.folder / "said").read_text()


def assert_cut(proxy: Proxy, reached: Sized) -> None:
    """No request reaches a provider any more that failed often enough; `reached` are those that did.

    Envoy's workers hear of an ejection a moment after the failure; how long that is, the machine decides.
    """

    def asked_again() -> bool:
        before = len(reached)
        assert ask().status == 503
        return len(reached) > before

    until(lambda: proxy.ejections() == 1, "an ejection")
    until(lambda: not asked_again(), "a request that does not reach it")
    assert [asked_again() for _ in range(20)] == [False] * 20


def put(path: Path, text: str) -> None:
    """As hostguard writes: beside, and renamed."""
    beside = path.with_name(f".{path.name}")
    beside.write_text(text)
    beside.rename(path)


@contextmanager
def places(g: Gateway) -> Iterator[tuple[Path, Places]]:
    """Folders of its own, below a short path: that of a socket has 107 letters at most."""
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    at = Places(f"{folder}/etc", f"{folder}/run", f"{folder}/log/access.log", RESOLVER)
    for each in (at.xds, f"{at.run}/admin", Path(at.log).parent, *(f"{at.run}/{up.name}" for up in g.upstreams)):
        Path(each).mkdir(parents=True, mode=0o700)
    try:
        yield folder, at
    finally:
        shutil.rmtree(folder)


def write(g: Gateway, at: Places) -> None:
    trees = {
        f"{at.folder}/bootstrap.json": envoy.bootstrap(g, at),
        f"{at.folder}/twin.json": envoy.twin(g, at),
        at.trust: envoy.trust(g),
        **envoy.secrets(g, at),
        f"{at.xds}/cds.json": envoy.clusters(g, at),
        f"{at.xds}/lds.json": envoy.listeners(g, at),
    }
    for path, tree in trees.items():
        put(Path(path), as_json(tree))


@contextmanager
def running(g: Gateway, *, wait: bool = True, under: Sequence[str] = (), log: str = "warning") -> Iterator[Proxy]:
    """A process of the proxy with this gateway. `wait` for its names; `under` is a program that becomes it."""
    with places(g) as (folder, at):
        write(g, at)
        with launched(folder, at, f"{at.folder}/bootstrap.json", under=under, log=log) as proxy:
            if wait:
                for up in g.upstreams:
                    until(lambda up=up: len(proxy.addresses(up.name)) >= len(up.hosts), f"the addresses of {up.name}")
            yield proxy


@contextmanager
def launched(
    folder: Path, at: Places, bootstrap: str, *, under: Sequence[str] = (), log: str = "warning"
) -> Iterator[Proxy]:
    assert ENVOY
    command = [*under, ENVOY, "-c", bootstrap, "--disable-hot-restart", "--concurrency", "1", "-l", log]
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen([*command, "--file-flush-interval-msec", "50"], stdout=said, stderr=said)
    proxy = Proxy(folder, at, process)

    def live() -> bool:
        assert process.poll() is None, proxy.said()
        return proxy.admin("/ready").body.startswith(b"LIVE")

    try:
        until(live, "the proxy's readiness")
        yield proxy
    finally:
        proxy.stop()


def validated(bootstrap: Path) -> subprocess.CompletedProcess[str]:
    assert ENVOY
    command = [ENVOY, "--mode", "validate", "-c", str(bootstrap), "-l", "critical", "--disable-hot-restart"]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
