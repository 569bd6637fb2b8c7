"""Find the Python package hostguard on the controller."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from ansible.errors import AnsibleError


def ensure() -> None:
    """Make `import hostguard` work: as installed by pip, or else as it lies in the collection."""
    if importlib.util.find_spec("hostguard") is None:
        sys.path.append(str(Path(__file__).parents[2]))
    if importlib.util.find_spec("pydantic") is None:
        raise AnsibleError(
            f"the controller's Python ({sys.executable}) has no pydantic: pip install hostguard (or pydantic) there"
        )
