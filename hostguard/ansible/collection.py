"""Where the collection lies: in the wheel beside this package, or in the checkout that this package runs from."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


@contextlib.contextmanager
def environment() -> Iterator[dict[str, str]]:
    """Environment variables with which ansible finds the collection. ansible-core looks among Python's own packages
    first, so an installed wheel needs none; a checkout is shown as a collection for as long as this lasts."""
    if not (CHECKOUT / "galaxy.yml").exists():
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="hostguard-") as folder:
        place = Path(folder, "ansible_collections", "hostguard")
        place.mkdir(parents=True)
        (place / "hostguard").symlink_to(CHECKOUT)
        others = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "")
        yield {"ANSIBLE_COLLECTIONS_PATH": f"{folder}:{others}" if others else folder}
