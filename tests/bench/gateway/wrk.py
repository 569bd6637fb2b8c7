"""wrk, who asks: https://github.com/wg/wrk, as Debian has it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.figure import Unmeasured
from tests.bench.gateway.programs import ENVIRONMENT, WRK

SCRIPT = Path(__file__).with_suffix(".lua")
LONG = 3600  # seconds: until it is told


@dataclass(frozen=True)
class Heard:
    """Times in seconds; `errors` by their kind, some of which may be none."""

    seconds: float
    requests: int
    p50: float
    p99: float
    most: float
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def failed(self) -> int:
        return sum(self.errors.values())


def heard(said: str) -> Heard:
    """What our script wrote at the end of wrk's own words."""
    return Heard(**json.loads(said.strip().splitlines()[-1]))


def _command(url: str, connections: int, seconds: float, options: Sequence[str], *arguments: str) -> list[str]:
    asked = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout=10s", f"--script={SCRIPT}", *options]
    return [str(WRK), *asked, url, "--", *arguments]


def run(url: str, connections: int, seconds: float) -> Heard:
    """Raises Unmeasured where a request failed: what is fast then is the refusal."""
    command = _command(url, connections, seconds, ())
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unmeasured(f"wrk ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    found = heard(done.stdout)
    if found.failed or not found.requests:
        raise Unmeasured(f"of {found.requests} requests to {url} some failed: {found.errors}")
    return found


@contextmanager
def load(url: str, connections: int, *, anew: bool = False) -> Iterator[list[Heard]]:
    """GET and POST in turn until the end of the block, and then what came of it; `anew`: a connection for each."""
    options = ["--header=Connection: close"] if anew else []
    command = _command(url, connections, LONG, options, "both")
    found: list[Heard] = []
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield found
        finally:
            running.send_signal(signal.SIGINT)
            said, _ = running.communicate(timeout=60)
            found.append(heard(said))
