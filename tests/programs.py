"""Programs that the tests call where they are: installed, or unpacked by .ci/prepare."""

from __future__ import annotations

import importlib.util
import shutil
import sysconfig
from pathlib import Path

UNPACKED = Path(__file__).parents[1] / ".tools/usr/bin"


def find(*names: str) -> str | None:
    """The first of these that is there."""
    places = (shutil.which(name) or shutil.which(str(UNPACKED / name)) for name in names)
    return next(filter(None, places), None)


PROMTOOL, PROMETHEUS = find("promtool"), find("prometheus")
BROWSER = find("chromium-headless-shell", "chromium", "google-chrome")


def envoy() -> str | None:
    """The proxy itself, in the wheel that brings it: the command on PATH is a Python program that becomes it."""
    package = importlib.util.find_spec("envoy")
    found = [Path(folder, "_bin", "envoy") for folder in (package and package.submodule_search_locations) or ()]
    return next((str(path) for path in found if path.exists()), None)


def bao() -> str | None:
    """OpenBao, server and agent: among the scripts of where its wheel was installed."""
    return find(str(Path(sysconfig.get_path("scripts"), "bao")), "bao")


ENVOY = envoy()
BAO = bao()
