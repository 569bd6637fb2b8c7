"""No test changes the machine that it runs on: what hostguard writes on a host is looked at after each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

PLACES = (
    "/etc/hostguard", "/etc/*/*hostguard*", "/etc/systemd/*/*hostguard*", "/run/hostguard*", "/var/lib/hostguard*",
    "/var/lib/hostguard/*", "/var/log/hostguard*",
)  # fmt: skip


def standing() -> dict[str, int]:
    """When each of our files on this machine was changed last, in nanoseconds."""
    found = {}
    for place in PLACES:
        for path in Path("/").glob(place[1:]):
            try:
                found[str(path)] = path.lstat().st_ctime_ns
            except FileNotFoundError:
                continue
    return found


@pytest.fixture(autouse=True)
def machine_stays_as_it_is() -> Iterator[None]:
    before = standing()
    yield
    after = standing()
    assert after == before, "a test, this one or one beside it, wrote on the machine itself"
