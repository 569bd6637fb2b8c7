"""Where the gateway is measured: a network namespace with a provider behind TLS, and proxies in front of it.

The provider is nginx, which is fast enough not to be what is measured. Each proxy takes plain HTTP on loopback and
asks the provider over TLS, with its certificate and its name checked, on connections that it keeps. nginx and HAProxy
are set up as one who knows them would: as many threads as the gateway has, and the time-outs of its policy.
"""

from __future__ import annotations

import http.client
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostguard.controls.gateway.envoy.places import Places
from hostguard.controls.gateway.wanted import MIGRATE
from hostguard.host import takeover
from hostguard.policy.gateway import Gateway, derive
from hostguard.policy.load import parse
from tests.bench.figure import Unmeasured
from tests.bench.gateway.programs import ENVIRONMENT, HAPROXY, NGINX, WRK
from tests.gateway import certificates
from tests.gateway.certificates import GOOD, HOSTS
from tests.gateway.names import Names
from tests.gateway.proxy import write
from tests.patience import ended, until
from tests.programs import ENVOY

POLICY, EXAMPLES = Path(__file__).with_name("policy.yml"), Path(__file__).parents[3] / "examples"
API, EU = HOSTS
PROVIDER, RESOLVER, PORT = "127.0.1.1", ("127.0.0.83", 53), 443
STRAIGHT = f"https://{API}"
GATEWAY, CHECKED, BY_NGINX, BY_HAPROXY = (
    f"http://127.0.0.{at}" for at in ("84:84", "84:85", "86:84", "87:84")
)  # fmt: skip
BODY = '{"id": "p-1", "status": "paid", "amount": 100, "note": "' + "x" * 960 + '"}'
SLOW, SLOWLY = "/slow", 100
"""A path whose answer comes by so many bytes a second, in ten seconds: so that many requests are open at once."""

Overlay = Mapping[str, Any]
VERSION = re.compile(r"[ /](\d+\.\d+\.\d+[^/\s]*)")


@dataclass(frozen=True)
class Stage:
    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def places(self) -> Places:
        return Places(f"{self.folder}/etc", f"{self.folder}/run", f"{self.folder}/log/access.log", RESOLVER)

    def gateway(self, overlay: Overlay | None = None) -> Gateway:
        """Of the policy, with a refinement over it."""
        overlays = [("bench", {"gateway": {"ca": str(self.ca)}}), ("more", overlay or {})]
        found = derive(parse(POLICY.read_bytes(), str(POLICY), overlays, EXAMPLES).policy)
        assert found
        return found


@contextmanager
def stage() -> Iterator[Stage]:
    """In a namespace of its own: it changes addresses and mounts."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["sysctl", "--quiet", "--write", f"{MIGRATE}=1"], check=True)  # as an apply does
    folder = Path(tempfile.mkdtemp(prefix="gw-"))
    try:
        certificates.make(folder)
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{PROVIDER} {API} {EU}\n")
        subprocess.run(["mount", "--bind", str(folder / "hosts"), "/etc/hosts"], check=True)
        with Names(RESOLVER, {host: ([PROVIDER], 60) for host in HOSTS}):
            yield Stage(folder)
    finally:
        subprocess.run(["umount", "/etc/hosts"], check=False)
        shutil.rmtree(folder)


def status(url: str, path: str = "/", method: str = "GET") -> int:
    """Of one answer; 0 where there is none."""
    wire = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    try:
        wire.request(method, path)
        return wire.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        wire.close()


@contextmanager
def _running(command: Sequence[str], folder: Path, name: str) -> Iterator[int]:
    with (folder / f"{name}.said").open("wb") as said:
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=said, stderr=said)
    try:
        yield process.pid
    finally:
        process.terminate()
        ended(process)


# Who answers


def provider(
    at: Stage, certificate: str = GOOD, address: str = PROVIDER, workers: int = 2, within: Sequence[str] = ()
) -> AbstractContextManager[int]:
    """`within`: what enters the network where it listens."""
    config = f"""
    worker_processes {workers}; daemon off; pid {at.folder}/provider.pid; error_log stderr crit;
    events {{ worker_connections 8192; }}
    http {{
        access_log off;
        keepalive_requests 1000000000; keepalive_timeout 1h;
        {_temporary(at.folder)}
        server {{
            listen {address}:{PORT} ssl reuseport backlog=4096;
            ssl_certificate {at.folder}/{certificate}.pem; ssl_certificate_key {at.folder}/{certificate}.key;
            ssl_session_cache shared:sessions:10m;
            default_type application/json;
            location / {{ return 200 '{BODY}'; }}
            location {SLOW} {{ limit_rate {SLOWLY}; return 200 '{BODY}'; }}
        }}
    }}"""
    return _running([*within, *_nginx(at.folder, "provider", config)], at.folder, "provider")


def _temporary(folder: Path) -> str:
    """Where nginx may put what is too long, whatever it was built with."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{each}_temp_path {folder}/{each};" for each in kinds)


def _nginx(folder: Path, name: str, config: str) -> list[str]:
    path = folder / f"{name}.conf"
    path.write_text(config)
    return [str(NGINX), "-e", "stderr", "-p", str(folder), "-c", str(path)]


# The proxies


def takes_over(at: Stage, g: Gateway) -> int:
    """The gateway's Envoy is started as its unit starts it, and takes over from one that runs; its process."""
    options = {
        "program": ENVOY, "bootstrap": f"{at.places.folder}/bootstrap.json", "admin": at.places.admin,
        "pid-file": f"{at.places.run}/pid", "drain": f"{g.drain:.0f}", "workers": g.workers,
    }  # fmt: skip
    words = [word for name, said in options.items() for word in (f"--{name}", str(said))]
    with (at.folder / "envoy.said").open("ab") as said:
        command = [sys.executable, "-I", takeover.__file__, *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
    if done.returncode:
        raise Unmeasured(f"Envoy did not start: {(at.folder / 'envoy.said').read_text()[-300:]}")
    return int(Path(at.places.run, "pid").read_text())


@contextmanager
def gateway(at: Stage, overlay: Overlay | None = None) -> Iterator[int]:
    g, places = at.gateway(overlay), at.places
    for each in (places.xds, f"{places.run}/admin", f"{places.run}/payments", Path(places.log).parent):
        Path(each).mkdir(parents=True, exist_ok=True)
    write(g, places)
    pid = takes_over(at, g)
    try:
        yield pid
    finally:
        takeover._end(takeover.running(f"{places.folder}/bootstrap.json"), f"{places.folder}/bootstrap.json", None, 0)
        shutil.rmtree(places.run)


@contextmanager
def nginx(at: Stage, overlay: Overlay | None = None) -> Iterator[int]:
    g = at.gateway(overlay)
    up = g.upstreams[0]
    # The address and not the name: with a name that is resolved again and again it keeps no connections (1.22), and
    # else it is resolved once. max_fails is for who has two regions: nginx overlooks it where there is one.
    config = f"""
    worker_processes {g.workers}; daemon off; pid {at.folder}/nginx.pid; error_log stderr crit;
    events {{ worker_connections 16384; }}
    http {{
        access_log off;
        keepalive_requests 1000000000; keepalive_timeout 1h;
        {_temporary(at.folder)}
        upstream payments {{
            zone payments 64k;
            server {PROVIDER}:{PORT} max_fails={up.consecutive_5xx} fail_timeout={up.ejection:.0f}s;
            keepalive {up.connections}; keepalive_requests 1000000000; keepalive_timeout {up.idle:.0f}s;
        }}
        server {{
            listen {BY_NGINX.removeprefix("http://")} reuseport backlog=4096;
            client_max_body_size {up.payload.request_max};
            location / {{
                proxy_pass https://payments;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_set_header Host {API};
                proxy_ssl_verify on; proxy_ssl_verify_depth 3; proxy_ssl_trusted_certificate {at.ca};
                proxy_ssl_name {API}; proxy_ssl_server_name on;
                proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_session_reuse on;
                proxy_connect_timeout {up.connect * 1000:.0f}ms; proxy_read_timeout {up.per_try:.0f}s;
                proxy_next_upstream error timeout http_502 http_503 http_504;
            }}
        }}
    }}"""
    with _running(_nginx(at.folder, "nginx", config), at.folder, "nginx") as pid:
        yield pid


@contextmanager
def haproxy(at: Stage, overlay: Overlay | None = None) -> Iterator[int]:
    g = at.gateway(overlay)
    up = g.upstreams[0]
    path = at.folder / "haproxy.cfg"
    path.write_text(f"""
global
    nbthread {g.workers}
    maxconn {g.connections_max}
    tune.pool-low-fd-ratio 80
    tune.pool-high-fd-ratio 90
    ssl-default-server-options ssl-min-ver TLSv1.2
    ca-base {at.folder}
resolvers names
    nameserver own {RESOLVER[0]}:{RESOLVER[1]}
    hold valid 60s
defaults
    mode http
    timeout connect {up.connect * 1000:.0f}ms
    timeout client 1h
    timeout http-keep-alive 1h
    timeout server {up.per_try:.0f}s
    timeout queue {up.total:.0f}s
    option http-keep-alive
    http-reuse always
    retries {up.retry.tries - 1}
    retry-on conn-failure empty-response
frontend applications
    bind {BY_HAPROXY.removeprefix("http://")} backlog 4096
    default_backend payments
backend payments
    http-request set-header Host {API}
    option httpchk GET /
    http-check send hdr Host {API}
    server payments {API}:{PORT} resolvers names init-addr libc maxconn {up.requests} \
pool-purge-delay {up.idle:.0f}s ssl verify required ca-file {at.ca} sni str({API}) verifyhost {API} \
check check-sni {API} inter {up.ejection:.0f}s observe layer7 error-limit {up.consecutive_5xx} on-error mark-down
""")
    with _running([str(HAPROXY), "-db", "-f", str(path)], at.folder, "haproxy") as pid:
        yield pid


Proxy = Callable[[Stage, Overlay | None], AbstractContextManager[int]]
PROXIES: dict[str, tuple[Proxy, str]] = {
    "the gateway": (gateway, GATEWAY),
    "nginx": (nginx, BY_NGINX),
    "HAProxy": (haproxy, BY_HAPROXY),
}


def answers(*urls: str) -> None:
    for url in urls:
        until(lambda url=url: status(url) == http.client.OK, f"an answer of {url}")


def versions() -> list[list[str]]:
    """Of all that takes part."""
    calls = {"Envoy": [ENVOY, "--version"], "nginx": [NGINX, "-v"], "HAProxy": [HAPROXY, "-v"], "wrk": [WRK, "-v"]}
    found = []
    for name, call in calls.items():
        done = subprocess.run(list(map(str, call)), env=ENVIRONMENT, capture_output=True, text=True, check=False)
        said = VERSION.search(done.stdout + done.stderr)
        found.append([name, said[1] if said else "?"])
    return found
