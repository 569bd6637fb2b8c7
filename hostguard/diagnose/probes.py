"""What is sent for a diagnosis: a question to each name server and time server, one connection to each place that the
policy names one by one, all by the accounts that may. Rules that ask for the same share the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hostguard.diagnose.rule import Asked
from hostguard.policy import Provider, gateway
from hostguard.policy.destinations import ASKER
from hostguard.policy.document import Path
from hostguard.policy.model import Egress, Service_

MOST = 50
"""So many names are asked for, and so many places are connected to."""
NONE = "--no-probe: nothing is sent"
OWN = gateway.RESOLVER


@dataclass(frozen=True)
class Target:
    """A place that is connected to: of which provider or service it is, where the policy says so, and the request."""

    of: str
    path: Path
    host: str
    port: int
    account: str | None
    tls: bool
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def named(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def request(self) -> dict[str, Any]:
        names = ("host", "port", "account", "tls", "ca", "certificate", "key")
        return {name: getattr(self, name) for name in names}


def targets(asked: Asked) -> list[Target]:
    """One for each name, or lone address, and port that is asked about; no more than MOST."""
    return _targets(asked)[:MOST]


def left_out(asked: Asked) -> str:
    """What is asked about, and is not asked for all the same; "" is nothing."""
    places, named = len(_targets(asked)) - MOST, len(_names(asked)) - MOST
    said = [f"{places} places" if places > 0 else "", f"{named} names" if named > 0 else ""]
    return " and ".join(filter(None, said))


def _targets(asked: Asked) -> list[Target]:
    egress = asked.policy.egress
    if egress is None:
        return []
    found = [target for name, to in asked.providers.items() for target in _of_provider(asked, egress, name, to)]
    for name, service in egress.services.items():
        if asked.is_about(name) and service.protocol == "tcp":
            account = service.users[0] if service.users else _asker(egress)
            path: Path = ("egress", "services", name)
            found += [Target(name, path, host, port, account, tls=False) for host, port in _places(service)]
    return found


def _of_provider(asked: Asked, egress: Egress, name: str, to: Provider) -> Iterator[Target]:
    """A name speaks TLS, and is verified as the gateway does; of an address nobody knows the name to verify."""
    own = asked.sizing.gateway
    up = next((each for each in own.upstreams if each.name == name), None) if own else None
    account = egress.proxy_user if egress.via == "proxy" else _asker(egress)
    shown = up.client_certificate if up else None
    for host, port in _places(to):
        if up is None or (host in up.hosts and port == up.port):
            yield Target(
                name,
                ("egress", "providers", name),
                host,
                port,
                account,
                tls=host in to.hosts,
                ca=own.tls.ca if own and up else None,
                certificate=shown.certificate if shown else None,
                key=(shown.key or shown.certificate) if shown else None,
            )


def _places(to: Provider | Service_) -> Iterator[tuple[str, int]]:
    for port in to.ports:
        yield from ((host, port) for host in to.hosts if not host.startswith("*."))
        lone = (each for each in to.cidrs if each.prefixlen == each.max_prefixlen)
        yield from ((str(each.network_address), port) for each in lone)


def _asker(egress: Egress) -> str | None:
    """An account that may look a name up; None: any may."""
    return egress.resolver_users[0] if egress.resolver_users else None


def handshakes(asked: Asked) -> dict[str, Any] | str:
    """The request for a connection to each target; or why there is none."""
    if not asked.probes:
        return NONE
    found = targets(asked)
    if not found:
        return "the policy names no place that is one address, or one name"
    return {"collect": "handshakes", "to": [target.request for target in found]}


def names(asked: Asked) -> tuple[str, ...]:
    """The names that are asked about, without those of `*.`; no more than MOST."""
    return _names(asked)[:MOST]


def _names(asked: Asked) -> tuple[str, ...]:
    egress = asked.policy.egress
    if egress is None:
        return ()
    ways: list[Provider | Service_] = list(asked.providers.values())
    ways += [service for name, service in egress.services.items() if asked.is_about(name)]
    return tuple(sorted({host for way in ways for host in way.hosts if not host.startswith("*.")}))


def answers(asked: Asked) -> dict[str, Any] | str:
    """The request for each resolver's answers; or why there is none."""
    egress = asked.policy.egress
    if not asked.probes:
        return NONE
    if egress is None or not egress.resolvers:
        return "the policy names no resolver"
    account = ASKER if egress.hosts else _asker(egress)
    return {"collect": "answers", "servers": [str(each) for each in egress.resolvers], "names": list(names(asked)),
            "account": account}  # fmt: skip


def own_answers(asked: Asked) -> dict[str, Any] | None:
    """The request for the answers of the host's own resolver, which it has where the policy has names."""
    egress = asked.policy.egress
    if egress is None or not egress.hosts or not names(asked):
        return None
    return {"collect": "answers", "servers": [OWN], "names": list(names(asked)), "account": _asker(egress)}
