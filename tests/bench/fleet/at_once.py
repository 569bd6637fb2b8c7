"""`python -m tests.bench.fleet.at_once JSON`: the programs of a JSON list, all of them at the same time."""

from __future__ import annotations

import json
import subprocess
import sys


def main(programs: list[list[str]]) -> int:
    running = [subprocess.Popen(argv, stdin=subprocess.DEVNULL) for argv in programs]
    return max(each.wait() for each in running)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
