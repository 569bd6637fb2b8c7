"""Programs that the tests call where they are: installed, or unpacked by .ci/prepare."""

from __future__ import annotations

import shutil
from pathlib import Path

UNPACKED = Path(__file__).parents[1] / ".tools/usr/bin"


def find(name: str) -> str | None:
    return shutil.which(name) or shutil.which(str(UNPACKED / name))


PROMTOOL, PROMETHEUS = find("promtool"), find("prometheus")
NO_PROMETHEUS = "promtool or prometheus is missing: as root on Debian, .ci/prepare test unpacks them"
