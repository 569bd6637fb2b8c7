"""ansible-lint; the checkout is shown to it as the collection that its playbooks name. .ansible-lint has the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hostguard.ansible import collection

PROGRAMS = Path(sys.executable).parent


def lint() -> int:
    with collection.environment() as found:
        # It starts ansible-playbook, and that is to be the one beside it.
        env = {**os.environ, **found, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"}
        argv = [str(PROGRAMS / "ansible-lint"), "-q"]
        return subprocess.run(argv, check=False, env=env, cwd=collection.CHECKOUT).returncode
