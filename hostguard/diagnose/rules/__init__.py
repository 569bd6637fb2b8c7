"""The rules, a file each: whatever module of this folder has a `RULE` is one."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from hostguard.diagnose.rule import Rule


def _found() -> tuple[Rule, ...]:
    """By the loader, which knows a package in an archive too. Raises AttributeError for a module without a rule."""
    modules = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    return tuple(sorted((module.RULE for module in modules), key=lambda rule: rule.id))


RULES = _found()
