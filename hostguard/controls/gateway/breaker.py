"""Whether a provider that fails is cut off: a breaker that is configured and never trips is worse than none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Verdict, verdict
from hostguard.controls.gateway import dump
from hostguard.controls.gateway.dump import Cluster, Tree
from hostguard.policy.gateway import Gateway

EXPECTED = "whatever fails again and again is cut off, the last of a provider's endpoints too"
PANIC = 50.0
"""Percent; Envoy's own `healthy_panic_threshold`: below it the ejected are asked as if they were well."""
EJECTED = 10
"""Percent; Envoy's own `max_ejection_percent`. Of one endpoint that is none: 20 of 20 requests reached it (1.40)."""
TRIPS = (("consecutive_5xx", "enforcing_consecutive_5xx", 100),
         ("consecutive_gateway_failure", "enforcing_consecutive_gateway_failure", 0))  # fmt: skip
"""A count, how often it is heeded in percent, and Envoy's own for that."""


def judges(_g: Gateway, said: Mapping[str, Any]) -> Verdict:
    out = list(dump.clusters(said["envoy"]["config_dump"]))
    found = [f"{cluster.name} {why}" for cluster in out for why in never(cluster)]
    if not out:
        found = ["no cluster leads to another host: there is nothing that a breaker could cut off"]
    return verdict(EXPECTED, found, f"{len(out)} ways out, and each is cut off when it fails")


def never(cluster: Cluster) -> Iterator[str]:
    """Why a cluster is never cut off."""
    outlier = cluster.tree.get("outlier_detection")
    if outlier is None:
        yield "has no `outlier_detection`: what fails is asked for ever"
        return
    if not any(heeded(outlier, *trip) for trip in TRIPS):
        yield "counts failures and heeds none (`enforcing_consecutive_5xx: 0`)"
    panic = cluster.tree.get("common_lb_config", {}).get("healthy_panic_threshold")
    threshold = PANIC if panic is None else panic.get("value", 0)
    if threshold:
        yield f"asks the ejected all the same once fewer than {threshold:g} % are well (`healthy_panic_threshold`)"
    most = outlier.get("max_ejection_percent", EJECTED)
    if most * max(1, len(cluster.addresses)) < 100:
        yield f"cuts off {most} % of its endpoints, which is none of {max(1, len(cluster.addresses))}"
    limits = cluster.tree.get("circuit_breakers", {}).get("thresholds", [])
    if not limits:
        yield "has no `circuit_breakers`: 3 retries at a time is all that it may, and 1024 requests whatever they take"


def heeded(outlier: Tree, _count: str, how_often: str, own: int) -> bool:
    return bool(outlier.get(how_often, own))
