"""Whether the gateway has the keys and certificates that it sends, and nobody else does. None of them is opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.policy.gateway import Gateway
from hostguard.status import Severity

EXPECTED = "each key is there, in memory, and only the gateway and whoever writes it may read it"
NO_MORE_THAN_A_LINE_END = 2


def asks(g: Gateway) -> Mapping[str, Any]:
    if not list(_files(g)):
        return {}
    return {
        "files": {"collect": "secret-files", "paths": list(dict.fromkeys(path for _, path in _files(g)))},
        "failed": {"collect": "envoy-injections", "admin": g.admin},
    }


def _files(g: Gateway) -> Iterator[tuple[str, str]]:
    """Each file that is needed, with the provider that it is for."""
    for up in g.upstreams:
        if up.credential:
            old = up.credential.place.old if up.credential.has_old else None
            yield from ((up.name, path) for path in (up.credential.place.new, old) if path)
        if up.client_certificate:
            shown = up.client_certificate
            yield from ((up.name, path) for path in dict.fromkeys((shown.certificate, shown.key)) if path)


def judges(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    needed = list(_files(g))
    if not needed:
        return Verdict("not_applicable", EXPECTED, "no provider has a credential or a client certificate")
    found = [f"{path} (for {name}) {why}" for name, path in needed for why in _faults(g, said["files"][path])]
    if not found and (failed := {name: number for name, number in said["failed"].items() if number}):
        past = [f"{name}: {number} requests found no key since it started" for name, number in sorted(failed.items())]
        return replace(verdict(EXPECTED, past, ""), severity=Severity.LOW)
    return verdict(EXPECTED, found, f"{len(needed)} files")


def _faults(g: Gateway, seen: Mapping[str, Any] | None) -> Iterator[str]:
    if seen is None:
        yield "is not there: its requests are answered with 503, and reach nobody"
        return
    if seen["size"] <= NO_MORE_THAN_A_LINE_END:
        yield "is empty"
    if not seen["in_memory"]:
        yield "is on a disk"
    if g.account not in seen["readers"]:
        yield f"can't be read by {g.account}"
    others = [name for name in seen["readers"] if name not in (g.account, seen["owner"])]
    if others:
        yield f"may be read by {', '.join(others)}"
    if seen["more"]:
        yield "has an access list beside its mode (getfacl)"
