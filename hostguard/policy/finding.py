"""Something in a policy that can't be meant, or deserves a word."""

from __future__ import annotations

from typing import NamedTuple

from hostguard.policy.document import Path


class Finding(NamedTuple):
    """`path` is where it is told; `of` are the other places that it comes from."""

    path: Path
    found: str
    expected: str
    of: tuple[Path, ...] = ()
