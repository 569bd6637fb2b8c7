"""Every fault, a file a kind. A class that is written in one of them is a fault: nothing else lists it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

from hostguard.rehearse.faults.fault import Fault


def _found() -> Iterator[Fault]:
    for module in pkgutil.iter_modules(__path__):
        held = vars(importlib.import_module(f"{__name__}.{module.name}")).values()
        yield from (each() for each in held if isinstance(each, type) and issubclass(each, Fault) and each.id)


FAULTS: dict[str, Fault] = {fault.id: fault for fault in _found()}
