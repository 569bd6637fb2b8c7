"""Faults as a real Envoy told them: its log, its counters and its addresses, recorded of Envoy 1.40.0 between
tests/gateway's application and providers, one fault each (tests/unit/recorded).

A line of the log is read by the host's own collector, so that what a rule is held against took the whole way.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hostguard.host import logged
from hostguard.host.evidence import gateway_log, gateway_state

FOLDER = Path(__file__).parent / "recorded"
NAMES = sorted(path.stem for path in FOLDER.glob("*.txt"))
AGO = 10
"""Seconds since the last line of a log, as a test tells it."""
SECTION = re.compile(r"^== (\w+)\n", re.MULTILINE)


def sections(name: str) -> dict[str, str]:
    _, *found = SECTION.split((FOLDER / f"{name}.txt").read_text())
    return dict(zip(found[::2], found[1::2], strict=True))


def log(name: str, folder: Path, slow: int = 800, since: float = 3600, **changes: Any) -> Any:
    """What the host makes of this log, as if it was written a moment ago; `changes` are of each of its lines."""
    lines = [{**json.loads(line), **changes} for line in sections(name)["log"].splitlines()]
    times = [logged.moment(line["at"]) or 0.0 for line in lines]
    later = time.time() - AGO - max(times, default=0.0)
    for line, at in zip(lines, times, strict=True):
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at + later))
        line["at"] = f"{whole}.{int((at + later) % 1 * 1000):03}Z"
    path = folder / "access.log"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return gateway_log.gateway_log({"path": str(path), "since": since, "slow": {"payments": slow}})


def state(name: str, counters: Mapping[str, int] = {}, **changes: Any) -> Any:
    """How the gateway stood. `counters` are more of its own."""
    found = sections(name)
    own, clusters = gateway_state._counted(found["stats"])
    running = dict(gateway_state.VERSION.findall(found["stats"]))
    files = dict(line.split() for line in found["files"].splitlines())
    told = {
        "running": True,
        "now": time.time(),
        "own": {**own, **counters},
        "clusters": clusters,
        "members": found["clusters"],
        "certificates": {"certificates": []},
        "versions": {each: [running[each], files[each]] for each in files},
    }
    return {**told, **changes}
