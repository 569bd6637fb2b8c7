"""What a managed gateway wants of a host, by control: the process, its routes, its log."""

from __future__ import annotations

from collections.abc import Sequence

from hostguard.control import Context
from hostguard.controls.egress import chains
from hostguard.controls.gateway import asked, envoy
from hostguard.controls.gateway import instance as made
from hostguard.controls.gateway.envoy.tree import as_json
from hostguard.host.kinds import process, sysctl
from hostguard.host.resource import Resource
from hostguard.policy.gateway import UNIT

MIGRATE = "net.ipv4.tcp_migrate_req"


def instance(context: Context) -> Sequence[Resource]:
    """The process and its files. What it was started with is its mark; a slice alone takes more than a reload."""
    g = asked.of(context)
    if not g.manage:
        return []
    bootstrap, twin, trust = (as_json(tree(g)) for tree in (envoy.bootstrap, envoy.twin, envoy.trust))
    secrets = {path: as_json(tree) for path, tree in envoy.secrets(g).items()}
    files = made.resources(g, bootstrap=bootstrap, twin=twin, trust=trust, secrets=secrets)
    return [*files, *_migrating(context), *([process.resource(made.CONTROL, UNIT, slice=g.slice)] if g.slice else [])]


def _migrating(context: Context) -> Sequence[Resource]:
    """Two processes have a port while one takes over from the other. Connections that wait in the queue of the one that
    closes it are reset, 8 of 137,000 in 40 handovers, unless the kernel hands them to the other one."""
    if MIGRATE in (context.policy.kernel or {}):
        return []  # the policy's own value is kernel.custom's
    return [sysctl.resource(made.CONTROL, MIGRATE, "1", "equal", since="5.14")]


def routes(context: Context) -> Sequence[Resource]:
    g = asked.of(context)
    if not g.manage:
        return []
    return [made.routes(g, clusters=as_json(envoy.clusters(g)), listeners=as_json(envoy.listeners(g)))]


def log(context: Context) -> Sequence[Resource]:
    return [made.log()] if asked.of(context).manage else []


def separation(context: Context) -> Sequence[Resource]:
    return chains.gateway(asked.of(context))
