"""The gateway as Envoy is told it: bootstrap, clusters and listeners as plain dicts (pure).

JSON and not YAML: YAML 1.1 reads `n` and `no` as false, and a provider may be called so.
"""

from __future__ import annotations

from dataclasses import replace

from hostguard.controls.gateway.envoy import cluster, listener, secret, tree
from hostguard.controls.gateway.envoy.places import HOST, Places
from hostguard.controls.gateway.envoy.process import process
from hostguard.controls.gateway.envoy.tree import Tree
from hostguard.policy.gateway import Gateway


def bootstrap(g: Gateway, places: Places = HOST) -> Tree:
    """What needs a new process when it changes."""
    found = {"cds_config": "cds.json", "lds_config": "lds.json"}
    return {
        **process(g, places),
        "dynamic_resources": {name: tree.watched(f"{places.xds}/{file}", places.xds) for name, file in found.items()},
    }


def clusters(g: Gateway, places: Places = HOST) -> Tree:
    """The content of cds.json. It goes before the listeners where one is added, and after them where one is removed:
    Envoy refuses a listener that leads to an unknown cluster, and need not look again when the cluster comes."""
    return tree.discovered("config.cluster.v3.Cluster", cluster.clusters(g, places, secret.BySds(places)))


def listeners(g: Gateway, places: Places = HOST) -> Tree:
    """The content of lds.json."""
    return tree.discovered("config.listener.v3.Listener", listener.listeners(g, places))


def trust(g: Gateway) -> Tree:
    """The content of trust.json: a CA bundle that is named there is read anew when a rename replaces it. One that is
    named in the cluster itself is read once."""
    return _secret({"name": secret.TRUST, "validation_context": secret.bundle(g.tls)})


def secrets(g: Gateway, places: Places = HOST) -> dict[str, Tree]:
    """Content by path: where each secret lies, and never what it is. Envoy reads the files that are named there anew
    when one is renamed into their folder. A file for each: it refuses one with two."""
    return {places.secret(each["name"].removeprefix(secret.HIDDEN)): _secret(each) for each in secret.sent(g)}


def _secret(found: Tree) -> Tree:
    return {"resources": [{"@type": tree.TYPE + "extensions.transport_sockets.tls.v3.Secret", **found}]}


def twin(g: Gateway, places: Places = HOST) -> Tree:
    """All of it for `envoy --mode validate`, which looks at no file that a bootstrap leads to. The CA bundle is named
    in place for the same reason, and secrets are stood for: they may be fetched later. Envoy opens the log even so,
    and its folder may not be there yet."""
    places = replace(places, log="/dev/null")
    static = {
        "clusters": cluster.clusters(g, places, secret.InPlace(g.tls)),
        "listeners": listener.listeners(g, places),
        "secrets": [
            {"name": each["name"], "generic_secret": {"secret": {"inline_string": "none"}}}
            for each in secret.sent(g)
            if "generic_secret" in each
        ],
    }
    return {**process(g, places), "static_resources": static}
