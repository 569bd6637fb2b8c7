"""The least that the real Envoy takes: a provider on loopback, listeners that lead there, and the bootstrap."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hostguard.host.envoy_admin import DUMP
from hostguard.policy.gateway import Gateway, Payload, Retry, Tls, Upstream

TYPES = "type.googleapis.com/envoy."
HTTP = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {"name": "r", "typed_config": {"@type": TYPES + "extensions.filters.http.router.v3.Router"}}

Address = int | str
"""A port of 127.0.0.1, or the path of a socket."""


def address(of: Address) -> dict[str, Any]:
    if isinstance(of, str):
        return {"pipe": {"path": of, "mode": 0o660}}
    return {"socket_address": {"address": "127.0.0.1", "port_value": of}}


def cluster(name: str, port: int, timeout: str = "1s") -> dict[str, Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
    return {"@type": TYPES + "config.cluster.v3.Cluster", "name": name, "connect_timeout": timeout, "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": endpoints}}  # fmt: skip


def listener(name: str, at: Address, to: str, timeout: str = "60s") -> dict[str, Any]:
    route = {"match": {"prefix": "/"}, "route": {"cluster": to, "timeout": timeout}}
    hosts = [{"name": "h", "domains": ["*"], "routes": [route]}]
    manager = {"@type": TYPES + HTTP, "stat_prefix": name, "http_filters": [ROUTER],
               "route_config": {"name": name, "virtual_hosts": hosts}}  # fmt: skip
    return {"@type": TYPES + "config.listener.v3.Listener", "name": name, "address": address(at),
            "filter_chains": [{"filters": [{"name": "h", "typed_config": manager}]}]}  # fmt: skip


def text(*resources: dict[str, Any]) -> str:
    """A file of clusters or listeners."""
    version = hashlib.sha256(json.dumps(resources).encode()).hexdigest()
    return json.dumps({"version_info": version, "resources": resources}, indent=1) + "\n"


def bootstrap(admin: str, folder: str, **more: Any) -> str:
    def watched(name: str) -> dict[str, Any]:
        source = {"path": f"{folder}/{name}.json", "watched_directory": {"path": folder}}
        return {"path_config_source": source, "resource_api_version": "V3"}

    allowed = [{"exact": "/ready"}, {"exact": DUMP}, {"prefix": "/stats?filter="},
               {"exact": "/drain_listeners?graceful"}]  # fmt: skip
    return json.dumps({
        "node": {"id": "hostguard", "cluster": "hostguard"},
        "admin": {"address": {"pipe": {"path": admin, "mode": 0o600}}, "allow_paths": allowed},
        "dynamic_resources": {"cds_config": watched("cds"), "lds_config": watched("lds")},
        **more,
    })  # fmt: skip


def gateway(program: str) -> Gateway:
    """Of one provider, with nothing in it that a policy would be needed for."""
    payments = Upstream(
        name="payments", hosts=("api.provider.com",), port=443, users=("shop",), listen=84, group="shop",
        protocol="http1", requests=10, connections=10, pending=10, retries=10, connect=10, per_try=20, total=60,
        idle=60, consecutive_5xx=5, interval=10, ejection=30, percent=100,
        retry=Retry(tries=1, wait_max=1, safe=(), idempotency_header=None, timeouts=False),
        payload=Payload(request_max=1, response_max=1, validate_max=1, schema=None, types=(), stream=False),
        p99=1, errors=0.01,
    )  # fmt: skip
    return Gateway(
        manage=True, program=program, sha256=None, version_min="1.40", account="envoy", address="127.0.0.84",
        workers=1, tls=Tls("1.2", "1.3", (), ""), connections_max=100, heap_max=1 << 28, buffer=32768, log="off",
        metrics_listen=None, metrics_users=(), drain=4, upstreams=(payments,),
    )  # fmt: skip


class Provider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(0.005)
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@contextlib.contextmanager
def provider() -> Iterator[int]:
    """Its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Provider) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def call(at: Address, keep: socket.socket | None = None) -> tuple[str, socket.socket | None]:
    """What an application gets: a status or an error, and the connection where it may be used again."""
    try:
        if keep is None:
            keep = socket.socket(socket.AF_UNIX if isinstance(at, str) else socket.AF_INET)
            keep.settimeout(60)
            keep.connect(at if isinstance(at, str) else ("127.0.0.1", at))
        keep.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        said = b""
        while b"\r\n\r\n" not in said or said.endswith(b"\r\n\r\n"):
            part = keep.recv(1 << 16)
            if not part:
                raise OSError(f"closed after {said[:40]!r}")
            said += part
        status = said.split(b" ", 2)[1].decode()
        if b"connection: close" in said.lower() or status != "200":
            keep.close()
            keep = None
        return status, keep
    except OSError as error:
        if keep:
            keep.close()
        return repr(error), None


@contextlib.contextmanager
def load(addresses: Sequence[Address]) -> Iterator[Counter[str]]:
    """Requests to each of these, half on new connections and half on kept ones, until the end; what they got."""
    got, end = Counter[str](), threading.Event()

    def run(at: Address, fresh: bool) -> None:
        keep: socket.socket | None = None
        while not end.is_set():
            status, keep = call(at, keep)
            got[status] += 1
            if fresh and keep:
                keep.close()
                keep = None
            end.wait(0.002)

    threads = [threading.Thread(target=run, args=(at, fresh)) for at in addresses for fresh in (True, False)]
    for thread in threads:
        thread.start()
    try:
        yield got
    finally:
        end.set()
        for thread in threads:
            thread.join()


def wait_for_more(got: Counter[str], requests: int = 50) -> None:
    """Until so many more were answered."""
    before = got.total()
    while got.total() < before + requests:
        time.sleep(0.01)


def main() -> None:
    """On a lab's host: `load ADDRESS…` until /run/enough is there, then what it got; or `provider PORT`."""
    import sys

    what, *rest = sys.argv[1:]
    if what == "provider":
        http.server.ThreadingHTTPServer(("127.0.0.1", int(rest[0])), Provider).serve_forever()
    with load([int(at) if at.isdecimal() else at for at in rest]) as got:
        while not Path("/run/enough").exists():
            time.sleep(0.05)
    print(json.dumps(got))


if __name__ == "__main__":
    main()
