"""Fixtures for tests that need a host. A conftest.py imports them:

    from tests.lab.fixture import lab, lab_host  # noqa: F401

    def test_something(lab_host):
        host = lab_host("web", backend="legacy")

Where there can be no lab the test is skipped, and the reason says what to install.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pytest

from tests.lab.host import Backend, Host
from tests.lab.lab import Lab
from tests.lab.process import whats_missing


class MakeHost(Protocol):
    """What `lab_host` is: call it for a host. The same name gives the same host again."""

    def __call__(self, name: str = "host", *, backend: Backend = "nft") -> Host: ...


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A world of the module's own. It and its hosts are gone after the module's last test."""
    if reason := whats_missing():
        pytest.skip(reason)
    with Lab() as started:
        yield started


@pytest.fixture(scope="module")
def lab_host(lab: Lab) -> MakeHost:
    """Starts hosts in the module's lab."""

    def make(name: str = "host", *, backend: Backend = "nft") -> Host:
        return lab.hosts.get(name) or lab.host(name, backend=backend)

    return make
