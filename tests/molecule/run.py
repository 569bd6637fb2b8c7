"""Run molecule with this checkout's collection, and hosts of the lab."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hostguard.ansible import collection
from tests.lab.lab import KEEP, OWNER
from tests.lab.process import call
from tests.programs import BAO, ENVOY

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "molecule"
SCENARIOS = tuple(sorted(path.parent.name for path in FOLDER.glob("*/molecule.yml")))


def molecule(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it to its end. With a limit in seconds of an idle machine, what it says is kept for the caller."""
    with collection.environment() as found:
        settings = {
            **os.environ,
            # molecule, its verifier's pytest and ansible are those of this environment.
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # galaxy.yml in the checkout would have it look below extensions/.
            "MOLECULE_GLOB": "molecule/*/molecule.yml",
            "HOSTGUARD_COLLECTIONS": found.get("ANSIBLE_COLLECTIONS_PATH", ""),
            "HOSTGUARD_ENVOY": ENVOY or "",
            "HOSTGUARD_BAO": BAO or "",
            OWNER: os.environ.get(OWNER, KEEP),
            **(env or {}),
        }
        argv = [sys.executable, "-m", "molecule", "--base-config", str(FOLDER / "base.yml"), *arguments]
        if seconds:
            return call(argv, cwd=CHECKOUT, env=settings, check=False, timeout=seconds)
        return subprocess.run(argv, cwd=CHECKOUT, env=settings, check=False, text=True)
