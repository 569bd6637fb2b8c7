"""HTTP/2 towards a provider. The provider is a second Envoy, which tells in its answer what it was asked by."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from hostguard.controls.gateway.envoy import cluster
from hostguard.controls.gateway.envoy.tree import TYPE, as_json
from tests.gateway.proxy import FIRST, PROVIDERS_PORT, Got, ask, gateway, launched, places, put, running, upstream
from tests.patience import until

pytestmark = [pytest.mark.needs("envoy"), pytest.mark.usefixtures("names")]
BEHIND = PROVIDERS_PORT + 1
EXTENSIONS = TYPE + "extensions."


def provider(pki: Path, admin: str, *protocols: str, port: int) -> dict[str, Any]:
    """A bootstrap for one that speaks these protocols."""
    told = {"header": {"key": "x-told", "value": "%PROTOCOL% %REQ(:SCHEME)% %CONNECTION_ID%"}}
    host = {
        "name": "all",
        "domains": ["*"],
        "response_headers_to_add": [told],
        "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
    }
    manager = {
        "@type": EXTENSIONS + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "provider",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [{"name": "router", "typed_config": {"@type": EXTENSIONS + "filters.http.router.v3.Router"}}],
    }
    chain = {"certificate_chain": {"filename": f"{pki}/good.pem"}, "private_key": {"filename": f"{pki}/good.key"}}
    tls = {
        "@type": EXTENSIONS + "transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {"alpn_protocols": list(protocols), "tls_certificates": [chain]},
    }
    filters = {
        "filters": [{"name": "manager", "typed_config": manager}],
        "transport_socket": {"name": "tls", "typed_config": tls},
    }
    address = {"socket_address": {"address": FIRST, "port_value": port}}
    listener = {"name": "provider", "address": address, "filter_chains": [filters]}
    return {"admin": {"address": {"pipe": {"path": admin}}}, "static_resources": {"listeners": [listener]}}


@contextmanager
def asked(pki: Path, spoken: str, *protocols: str, port: int = PROVIDERS_PORT) -> Iterator[Callable[[], Got]]:
    """What an application gets of such a provider, which listens on this port."""
    g = gateway(upstream(protocol=spoken, connect=5, per_try=5, total=20, consecutive_5xx=10_000), ca=pki / "ca.pem")
    with places(g) as (folder, at):
        put(Path(at.folder, "provider.json"), as_json(provider(pki, at.admin, *protocols, port=port)))
        with launched(folder, at, f"{at.folder}/provider.json"), running(g):
            yield ask


class Way:
    """A way to a provider's port on which connections die silently when a test says so; new ones live."""

    def __enter__(self) -> Way:
        self.listening = socket.create_server((FIRST, PROVIDERS_PORT))
        self.dead: set[socket.socket] = set()
        self.open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self.listening, *self.open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def dies(self) -> None:
        self.dead.update(self.open)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self.listening.accept()
                far = socket.create_connection((FIRST, BEHIND))
                self.open += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                if one not in self.dead:
                    other.sendall(data)


@pytest.mark.parametrize(
    ("spoken", "protocols", "told"),
    [
        ("auto", ("h2", "http/1.1"), "HTTP/2 https"),
        ("auto", ("http/1.1",), "HTTP/1.1 https"),
        ("auto", (), "HTTP/1.1 https"),
        ("http2", ("h2",), "HTTP/2 https"),
        ("http1", ("h2", "http/1.1"), "HTTP/1.1 https"),
    ],
)
def test_the_policy_s_protocol_is_spoken_on_one_connection(
    pki: Path, spoken: str, protocols: tuple[str, ...], told: str
) -> None:
    with asked(pki, spoken, *protocols) as application:
        got = [application(), application()]
    assert [each.status for each in got] == [200, 200]
    assert {each.headers["x-told"] for each in got} == {got[0].headers["x-told"]}
    assert got[0].headers["x-told"].startswith(told)


def test_a_connection_ends_when_it_is_old(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "LONGEST_CONNECTION", 0.1)
    with asked(pki, "auto", "h2") as application:
        first = application().headers["x-told"]
        until(lambda: application().headers.get("x-told", first) != first, "another connection")


def test_a_connection_that_dies_silently_is_left(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "PING", 0.5)
    monkeypatch.setattr(cluster, "PING_ANSWER", 0.3)
    with Way() as way, asked(pki, "auto", "h2", port=BEHIND) as application:
        assert application().headers["x-told"].startswith("HTTP/2")
        way.dies()
        until(lambda: application().status == 200, "an answer by another connection")
