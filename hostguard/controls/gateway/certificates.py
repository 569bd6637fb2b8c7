"""How long the certificates of both sides are good yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway.asked import envoy
from hostguard.policy.gateway import LOG, Gateway
from hostguard.status import Severity

LEAST, EARLY = 14, 30
"""Days: below the first it is grave, below the second it is told."""
EXPECTED = f"every certificate is good for {LEAST} days yet, and for {EARLY} without a word"
INLINE = "<inline>"
Ends = Iterator[tuple[int, str]]


def asks(g: Gateway) -> Mapping[str, Any]:
    providers = [up.name for up in g.upstreams]
    return {
        **envoy(g, "certs"),
        "authorities": {"collect": "authorities", "path": g.tls.ca},
        "shown": {"collect": "certificate-ends", "path": LOG, "providers": providers},
    }


def judges(g: Gateway, said: Mapping[str, Any]) -> Verdict:
    known = [*own(g, said["envoy"]["certs"]), *_authorities(g, said), *_shown(said["shown"])]
    soon = sorted(end for end in known if end[0] < EARLY)
    unseen = [up.name for up in g.upstreams if up.name not in said["shown"]]
    untold = f"; the log tells nothing yet of the certificate of {', '.join(unseen)}" if unseen else ""
    found = verdict(EXPECTED, [_words(*end) for end in soon], f"{len(known)} certificates{untold}")
    if soon and soon[0][0] >= LEAST:
        return replace(found, severity=Severity.LOW)
    return found


def _words(days: int, whose: str) -> str:
    return f"{whose} ended {-days} days ago" if days < 0 else f"{whose} ends in {days} days"


def own(g: Gateway, certs: Mapping[str, Any]) -> Ends:
    """What the proxy shows to providers, each once: it is told for every cluster. Of one that a file of its own names,
    as ours are, the proxy tells no path."""
    ours = [up.client_certificate.name for up in g.upstreams if up.client_certificate]
    chains = [one for each in certs["certificates"] for one in each.get("cert_chain", ())]
    found = {(int(one.get("days_until_expiration", 0)), one["path"]) for one in chains}
    for days, path in sorted(found):
        which = " or ".join(dict.fromkeys(ours)) if path == INLINE and ours else path
        yield days, f"the client certificate {which}"


def _authorities(g: Gateway, said: Mapping[str, Any]) -> Ends:
    """Of a bundle of the whole world's some always end: it lasts as long as its last. One of a single authority is
    that authority."""
    days = said["authorities"]["days"]
    if days:
        yield days[-1], f"the last authority of {g.tls.ca}"
    elif not said["authorities"]["all"]:
        yield -1, f"{g.tls.ca}, which holds no certificate,"


def _shown(days: Mapping[str, int]) -> Ends:
    for provider, left in sorted(days.items()):
        yield left, f"the certificate of {provider}"
