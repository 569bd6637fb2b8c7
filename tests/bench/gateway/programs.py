"""The programs of the gateway's figures: Envoy is in a wheel, the others are unpacked by `.ci/prepare bench`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench.figure import Unmeasured
from tests.programs import ENVOY

TOOLS = Path(__file__).parents[3] / ".tools/usr"
WRK, NGINX, HAPROXY = TOOLS / "bin/wrk", TOOLS / "sbin/nginx", TOOLS / "sbin/haproxy"
ENVIRONMENT = {**os.environ, "LD_LIBRARY_PATH": ":".join(map(str, TOOLS.glob("lib/*-linux-gnu")))}


def demand() -> None:
    """Raises Unmeasured where one of them is missing."""
    absent = [each.name for each in (WRK, NGINX, HAPROXY) if not each.exists()] + ([] if ENVOY else ["envoy"])
    if absent:
        raise Unmeasured(f"not here: {', '.join(absent)}; `make bench` gets them")
