"""Fixtures for tests that need a host, and are marked `needs("lab")`: `host = lab_host("web", backend="legacy")`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.lab.host import Backend, Host
from tests.lab.lab import Lab


class MakeHost(Protocol):
    """What `lab_host` is: call it for a host. The same name gives the same host again."""

    def __call__(self, name: str = "host", *, backend: Backend = "nft") -> Host: ...


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A world of the module's own. It and its hosts are gone after the module's last test."""
    with Lab() as started:
        yield started


@pytest.fixture(scope="module")
def lab_host(lab: Lab) -> MakeHost:
    """Starts hosts in the module's lab."""

    def make(name: str = "host", *, backend: Backend = "nft") -> Host:
        return lab.hosts.get(name) or lab.host(name, backend=backend)

    return make


@pytest.fixture
def own_host(lab: Lab) -> Iterator[Host]:
    """A host of the test's own, gone after it: more than some twenty at a time, and the machine has no inotify left."""
    yield lab.host("own")
    lab.hosts.pop("own").remove()
