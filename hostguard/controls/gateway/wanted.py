"""What a managed gateway wants of a host, by control: the process, its routes, its log."""

from __future__ import annotations

from collections.abc import Sequence

from hostguard.control import Context
from hostguard.controls.egress import chains
from hostguard.controls.gateway import asked
from hostguard.host.resource import Resource


def instance(_context: Context) -> Sequence[Resource]:
    return []


def routes(_context: Context) -> Sequence[Resource]:
    return []


def log(_context: Context) -> Sequence[Resource]:
    return []


def separation(context: Context) -> Sequence[Resource]:
    return chains.gateway(asked.of(context))
