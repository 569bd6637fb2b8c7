"""Find the Python package hostguard on the controller."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase


def find() -> None:
    """Make `import hostguard` work: as installed by pip, or else as it lies in the collection."""
    if importlib.util.find_spec("hostguard") is None:
        sys.path.append(str(Path(__file__).parents[2]))


def action(module: str, name: str) -> type[ActionBase]:
    """This class of hostguard.ansible.actions; where Python lacks a package that it needs, one that fails and says so.

    To import a plugin takes ansible-core and nothing else: `ansible-test sanity` holds every collection to that.
    """
    find()
    try:
        found: type[ActionBase] = getattr(importlib.import_module(f"hostguard.ansible.actions.{module}"), name)
    except ModuleNotFoundError as missing:
        return _unable(str(missing.name))
    return found


def _unable(package: str) -> type[ActionBase]:
    class Unable(ActionBase):
        def run(self, *_args: Any, **_more: Any) -> dict[str, Any]:
            raise AnsibleError(
                f"the controller's Python ({sys.executable}) has no {package}: install pydantic and jinja2 there, or "
                "hostguard's own wheel (docs/install.md)"
            )

    return Unable
