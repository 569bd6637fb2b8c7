"""The example policy as the lab's hosts can carry it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.lab.any_host import AnyHost
from tests.lab.machine import CALLER, RESOLVER, SERVERS

EXAMPLE = Path(__file__).parents[2] / "examples" / "hostguard.yml"
NOFILE = 16384
PLACE = "/etc/hostguard/policy.yml"

Change = tuple[str, str]

NO_CLOCK: Change = ("clock_sync: required", "clock_sync: off")  # nobody keeps the clock of what tests run on
IN_A_CONTAINER: tuple[Change, ...] = (("nofile: 65535", f"nofile: {NOFILE}"), NO_CLOCK)  # its machine's hard limit
ON_A_MACHINE: tuple[Change, ...] = (
    ("from: [10.77.0.0/24]", f"from: [{CALLER}]"),
    ("resolvers: [10.0.0.2]", f"resolvers: [{RESOLVER}]"),
    ("203.0.113.5/32", f"{SERVERS[0]}/32"),
    NO_CLOCK,
)


def example(*changes: Change, where: tuple[Change, ...] = IN_A_CONTAINER) -> str:
    text = EXAMPLE.read_text(encoding="utf-8")
    for old, new in (*where, *changes):
        assert old in text, old
        text = text.replace(old, new)
    return text


def egress(*changes: Change) -> str:
    """Of the example, what may leave: for tests that are about nothing else."""
    return re.sub(r"(?ms)^(?!version|egress)\w+:.*?(?=^\w+:|\Z)", "", example(*changes))


def install(host: AnyHost, *changes: Change, where: tuple[Change, ...] = IN_A_CONTAINER) -> None:
    """Put the policy where hostguard looks for it."""
    host.run(["mkdir", "-p", "/etc/hostguard"])
    host.write(PLACE, example(*changes, where=where))
