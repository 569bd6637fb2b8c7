"""`python -m tests.bench.scale.ours POLICY`: hostguard brings the allowlist of a policy into force, all the way.

The policy is read, checked and compiled as on a controller; then the host's own transaction looks, records what it
replaces, writes, looks again and compares. Sets and rules alone: there is no systemd in a namespace for the files and
the unit of a boot. Prints the seconds of each of the two.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path


def main(path: str) -> None:
    start = time.perf_counter()
    from hostguard.bundle import compile_policy
    from hostguard.cli.main import YOUNG
    from hostguard.host import transaction
    from hostguard.policy.load import load
    from tests.bench.allowlist import in_the_kernel

    gc.set_threshold(YOUNG, 20, 20)  # as the command does
    loaded = load(Path(path))
    bundle = {**compile_policy(loaded).bundle(), "evidence": {}}
    bundle["resources"] = in_the_kernel(bundle["resources"], account=0)
    compiled = time.perf_counter()
    options = {"check": False, "restart": False, "confirm_within": 0}
    answer = transaction.apply(bundle, options, lambda _: None)
    if answer["outcome"] != "applied":
        sys.exit(f"hostguard: {answer}"[:500])
    json.dump({"controller": compiled - start, "host": time.perf_counter() - compiled}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
