"""`hostguard audit` of a whole host against what it can't do without: its imports and the programs it calls."""

from __future__ import annotations

import json
from typing import Any

from tests.bench.figure import Figure, Unmeasured
from tests.lab import Host, Lab, LabError
from tests.lab.debian import REPOSITORY
from tests.lab.host import PYTHON_SETTINGS

RUNS = 21
POLICY = "/etc/hostguard/policy.yml"
WELL = (0, 1, 3)  # an audit that finds something has done its work, too
# By name and not by statement: rich has modules with a dash in theirs.
IMPORT = "import sys; list(map(__import__, sys.argv[1:]))"
# The sources are read-only in a host: without a place for bytecode, every run would compile what has changed.
SETTINGS = {
    "PYTHONPATH": PYTHON_SETTINGS["PYTHONPATH"],
    "PYTHONPYCACHEPREFIX": "/var/tmp/bench-bytecode",
    "LC_ALL": "C",
}


def measure() -> list[Figure]:
    """One audit, by one Python that imports the same modules and ends, and then the same programs, each once.

    In a throw-away host, before and after `hostguard apply`; timed inside of it.
    """
    try:
        with Lab() as lab:
            host = lab.host("bench")
            text = (REPOSITORY / "examples" / "hostguard.yml").read_text(encoding="utf-8")
            # What a container can't have: more open files than the machine's hard limit, a clock of its own.
            host.write(
                POLICY,
                text.replace("nofile: 65535", "nofile: 16384").replace("clock_sync: required", "clock_sync: off"),
            )
            figures = [compare(host, "audit", "before any apply")]
            host.run(["sh", "-c", "python3 -m hostguard apply --yes --confirm-within 0 --restart"], env=SETTINGS)
            return [*figures, compare(host, "audit, applied", "all controls in force")]
    except LabError as error:
        raise Unmeasured(str(error)) from None


def compare(host: Host, name: str, when: str) -> Figure:
    need = inside(host, "tests.bench.needs", "")
    imports = ["python3", "-c", IMPORT, *need["modules"]]
    request = {
        "ours": [[["python3", "-m", "hostguard", "audit"], ""]],
        "base": [[imports, ""], *need["programs"]],
        "runs": RUNS,
        "env": SETTINGS,
        "well": WELL,
    }
    ours, base = inside(host, "tests.bench.stopwatch", json.dumps(request))
    count = f"{len(need['modules'])} imports + {len(need['programs'])} programs"
    return Figure(name, f"hostguard audit, {when}", count, ours, base, "≤ 1.5")


def inside(host: Host, module: str, text: str) -> Any:
    return json.loads(host.run(["python3", "-m", module], input=text, env=SETTINGS).stdout)
