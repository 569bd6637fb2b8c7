"""What a managed gateway wants of a host, by control: the process, its routes, its log."""

from __future__ import annotations

from collections.abc import Sequence

from hostguard.control import Context
from hostguard.controls.egress import chains
from hostguard.controls.gateway import asked, envoy
from hostguard.controls.gateway import instance as made
from hostguard.controls.gateway.instance import CONTROL
from hostguard.host.kinds import process
from hostguard.host.resource import Resource
from hostguard.policy.gateway import UNIT, Gateway


def instance(context: Context) -> Sequence[Resource]:
    """The process and its files. What it was started with is its mark; a slice alone takes more than a reload."""
    g = asked.of(context)
    if not g.manage:
        return []
    return [*_files(g, CONTROL), *([process.resource(CONTROL, UNIT, slice=g.slice)] if g.slice else [])]


def routes(context: Context) -> Sequence[Resource]:
    g = asked.of(context)
    texts = {"clusters": envoy.text(envoy.clusters(g)), "listeners": envoy.text(envoy.listeners(g))}
    return [made.routes(g, **texts)] if g.manage else []


def log(context: Context) -> Sequence[Resource]:
    return _files(asked.of(context), made.LOG)


def _files(g: Gateway, control: str) -> list[Resource]:
    if not g.manage:
        return []
    texts = {
        "bootstrap": envoy.text(envoy.bootstrap(g)),
        "twin": envoy.text(envoy.twin(g)),
        "trust": envoy.text(envoy.trust(g)),
    }
    return [resource for resource in made.resources(g, **texts) if resource["control"] == control]


def separation(context: Context) -> Sequence[Resource]:
    return chains.gateway(asked.of(context))
