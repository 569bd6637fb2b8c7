"""Certificates and keys: where each lies, and never what it is."""

from __future__ import annotations

from collections.abc import Iterator

from hostguard.controls.gateway.envoy.places import Places
from hostguard.controls.gateway.envoy.tree import Tree, watched
from hostguard.policy.gateway import Gateway, Tls
from hostguard.policy.keys import Place

TRUST = "trust"
HIDDEN = "secret:"
"""Before the names of secrets, and of nothing else: by its colon a dump leaves them out."""
NEW, OLD, CERTIFICATE = "new", "old", "certificate"
"""What a secret is called after its own name."""


def sent(g: Gateway) -> list[Tree]:
    return [each for at in g.secrets for each in _of_place(at)]


def _of_place(at: Place) -> Iterator[Tree]:
    for which, path in ((NEW, at.new), (OLD, at.old)):
        if path is not None:
            yield {"name": f"{HIDDEN}{at.name}-{which}", "generic_secret": {"secret": {"filename": path}}}
    if at.certificate is not None:
        pair = {"certificate_chain": {"filename": at.certificate}, "private_key": {"filename": at.key}}
        yield {"name": f"{HIDDEN}{at.name}-{CERTIFICATE}", "tls_certificate": pair}


class BySds:
    """What clusters name of certificates and keys: resources of files that are read anew."""

    def __init__(self, places: Places) -> None:
        self.places = places

    def trust(self) -> Tree:
        source = watched(self.places.trust, self.places.folder)
        return {"validation_context_sds_secret_config": {"name": TRUST, "sds_config": source}}

    def key(self, at: Place, which: str) -> Tree:
        name = f"{at.name}-{which}"
        return {"name": HIDDEN + name, "sds_config": watched(self.places.secret(name), self.places.folder)}

    def certificate(self, at: Place) -> Tree:
        return {"tls_certificate_sds_secret_configs": [self.key(at, CERTIFICATE)]}


class InPlace:
    """The same of a bootstrap that is only looked at."""

    def __init__(self, tls: Tls) -> None:
        self.tls = tls

    def trust(self) -> Tree:
        return {"validation_context": bundle(self.tls)}

    def key(self, at: Place, which: str) -> Tree:
        return {"name": f"{HIDDEN}{at.name}-{which}"}

    def certificate(self, _at: Place) -> Tree:
        return {}


Found = BySds | InPlace


def bundle(tls: Tls) -> Tree:
    return {"trusted_ca": {"filename": tls.ca}}
