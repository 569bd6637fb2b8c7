"""The host program's own texts, for who must write it down or send it on."""

from __future__ import annotations

import os
import sys
from typing import Dict


def own() -> Dict[str, str]:
    """Each module's text by its path within the package, whether it runs from a folder or out of memory."""
    in_memory = getattr(getattr(sys.modules[__name__], "__loader__", None), "sources", None)
    if in_memory is not None:
        return dict(in_memory)
    here = os.path.dirname(os.path.abspath(__file__))
    found = {}
    for folder, _, names in os.walk(here):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8", newline="\n") as file:
                    found[os.path.relpath(path, here)] = file.read()
    return found
