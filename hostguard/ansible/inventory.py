"""The hosts of an inventory, as ansible itself reads it: static, dynamic, or a list with commas."""

from __future__ import annotations

from collections.abc import Sequence

from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader


class InventoryError(Exception):
    """An inventory that can't be used; the text says why."""


def hosts(sources: Sequence[str], limit: str | None) -> list[str]:
    """Names in the inventory's order. Raises InventoryError where it can't be read, or has no such host."""
    try:
        manager = InventoryManager(loader=DataLoader(), sources=list(sources))
        if limit:
            manager.subset(limit)
        found = [host.get_name() for host in manager.list_hosts("all")]
    except AnsibleError as error:
        raise InventoryError(str(error)) from None
    if not found:
        where = f" that match {limit!r}" if limit else ""
        raise InventoryError(f"{', '.join(sources)}: found no hosts{where}, expected an inventory with some")
    return found
