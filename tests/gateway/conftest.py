"""The certificates, the resolver and the providers of a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway import certificates
from tests.gateway.names import Names
from tests.gateway.provider import Provider
from tests.gateway.proxy import API, EU, FIRST, PROVIDERS_PORT, RESOLVER, SECOND


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    certificates.make(folder)
    return folder


@pytest.fixture
def names() -> Iterator[Names]:
    with Names(RESOLVER, {API: ([FIRST], 60), EU: ([SECOND], 60)}) as names:
        yield names


@pytest.fixture
def first(pki: Path) -> Iterator[Provider]:
    """The provider's own region."""
    with Provider(FIRST, PROVIDERS_PORT, pki) as provider:
        yield provider


@pytest.fixture
def second(pki: Path) -> Iterator[Provider]:
    with Provider(SECOND, PROVIDERS_PORT, pki) as provider:
        yield provider
