"""Molecule as our scenarios need it: `python -m tests.molecule test -s default`; without arguments all scenarios."""

from __future__ import annotations

import sys

from tests.molecule.run import SCENARIOS, molecule

if __name__ == "__main__":
    given = sys.argv[1:]
    runs = [given] if given else [["test", "-s", name] for name in SCENARIOS]
    sys.exit(max(molecule(run).returncode for run in runs))
