"""What a running Envoy says of its configuration, read for those who judge it: ours, or somebody else's (pure).

Only what the host kept of it is there: hostguard/host/evidence/gateway.py. What has not the shape that Envoy gives it
raises, and is unknown then: it must not be taken for a setting that was left out.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Tree = Mapping[str, Any]
STRANGER = "stranger.hostguard.invalid"
"""A name that is no provider's (RFC 2606): whatever takes it takes any."""


def parts(dump: Tree, kind: str) -> list[Tree]:
    """The parts of a dump of one type. Raises ValueError where there is none: every Envoy has them."""
    found = [part for part in dump["configs"] if part["@type"].endswith(f".{kind}")]
    if not found:
        raise ValueError(f"the configuration that it tells has no {kind}")
    return found


def bootstrap(dump: Tree) -> Tree:
    found: Tree = parts(dump, "BootstrapConfigDump")[0]["bootstrap"]
    return found


@dataclass(frozen=True)
class Cluster:
    name: str
    tree: Tree

    @property
    def addresses(self) -> list[Tree]:
        regions = self.tree.get("load_assignment", {}).get("endpoints", [])
        return [each["endpoint"]["address"] for region in regions for each in region.get("lb_endpoints", [])]

    @property
    def hosts(self) -> list[str]:
        """Where it leads to, a name or an address each."""
        return [each["socket_address"]["address"] for each in self.addresses if "socket_address" in each]

    @property
    def leads_out(self) -> bool:
        """Whether it leads to another host; one whose endpoints come from elsewhere may."""
        return not self.addresses or not all(map(_is_here, self.addresses))


def _is_here(address: Tree) -> bool:
    if "socket_address" not in address:
        return "pipe" in address or "envoy_internal_address" in address
    host = address["socket_address"]["address"]
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return bool(host == "localhost")


def clusters(dump: Tree) -> Iterator[Cluster]:
    """Those that lead out: in force, and what waits to be."""
    for part in parts(dump, "ClustersConfigDump"):
        for where in ("static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"):
            for each in part.get(where, ()):
                found = Cluster(each["cluster"]["name"], each["cluster"])
                if found.leads_out:
                    yield found


def secrets(dump: Tree) -> dict[str, Tree]:
    """What files and servers of secrets gave, by name: of each but its CA nothing is told."""
    found: dict[str, Tree] = {}
    for part in dump["configs"]:
        if part["@type"].endswith(".SecretsConfigDump"):
            for where in ("static_secrets", "dynamic_active_secrets"):
                found.update({each["name"]: each["secret"] for each in part.get(where, ())})
    return found


def managers(dump: Tree) -> Iterator[tuple[str, Tree]]:
    """Every HTTP connection manager, with the name of its listener."""
    for part in dump["configs"]:
        if not part["@type"].endswith(".ListenersConfigDump"):
            continue
        states = list(part.get("static_listeners", ()))
        states += [each[state] for each in part.get("dynamic_listeners", ()) for state in STATES if state in each]
        for state in states:
            listener = state["listener"]
            chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]
            for each in (one for chain in chains for one in chain.get("filters", ())):
                config = each.get("typed_config", {})
                if config.get("@type", "").endswith(".HttpConnectionManager"):
                    yield listener["name"], config


STATES = ("active_state", "warming_state")


def routes(dump: Tree, manager: Tree) -> Iterator[Tree]:
    """Those of a connection manager that lead to a cluster, wherever its routes come from."""
    configuration = manager.get("route_config")
    if configuration is None:
        configuration = _discovered(dump, manager["rds"]["route_config_name"])
    for host in configuration.get("virtual_hosts", ()):
        yield from (route for route in host.get("routes", ()) if "route" in route)


def _discovered(dump: Tree, name: str) -> Tree:
    for part in dump["configs"]:
        if part["@type"].endswith(".RoutesConfigDump"):
            for each in part.get("dynamic_route_configs", ()):
                if each["route_config"]["name"] == name:
                    found: Tree = each["route_config"]
                    return found
    raise ValueError(f"the routes {name} are not told")


def taken(matcher: Tree, text: str) -> bool:
    """Whether a StringMatcher takes a text. Of a regular expression that Python can't read, or might take too long for,
    it is thought that it does."""
    if matcher.get("ignore_case"):
        text = text.lower()
        matcher = {key: value.lower() if isinstance(value, str) else value for key, value in matcher.items()}
    if "exact" in matcher:
        return bool(text == matcher["exact"])
    if "prefix" in matcher:
        return text.startswith(matcher["prefix"])
    if "suffix" in matcher:
        return text.endswith(matcher["suffix"])
    if "contains" in matcher:
        return matcher["contains"] in text
    try:
        regex = matcher["safe_regex"]["regex"]
        return not QUICK.fullmatch(regex) or re.fullmatch(regex, text) is not None
    except (KeyError, re.error):
        return True


QUICK = re.compile(r"(?:(?!\)[*+{])[^*+{]){0,1000}(?:[*+{](?:(?!\)[*+{])[^*+{]){0,1000}){0,3}")
"""What Python answers at once: three repetitions at most, and none of a group. The host has written it, and others can
keep Python at it for years."""


def seconds(duration: str) -> float:
    """Of "0.250s", as JSON has a Duration."""
    return float(duration.removesuffix("s"))
