"""Sets that the host's own resolver fills with what it is answered.

It fills them when an answer comes from outside, and not with what it remembers: so a set that somebody emptied stays
empty for as long as the answers are remembered, and names that the policy allows lead nowhere (dnsmasq 2.89).
"""

from __future__ import annotations

import re
from typing import List

from . import systemctl
from .kinds import ipset, lookup
from .program import run
from .resource import VALUE, HostError, Resource

FAMILY = re.compile("-[46]-")
UNIT = "hostguard-names.service"


def refill(wanted: List[Resource]) -> None:
    """Have the resolver forget what it remembers, and ask for the policy's names anew, where a set is empty."""
    sets = [r for r in wanted if r["kind"] == "ipset" and r.get("timeout")]
    asking = [r for r in wanted if r["kind"] == "lookup"]
    if not sets or not asking or not systemctl.systemd_runs():
        return
    try:
        seen = ipset.read(sets)
    except HostError:
        return  # whoever looks at the sets next says so
    # A name may have addresses of one family alone: then the other one's set is rightly empty.
    full = [r for r in sets if seen[r["id"]].state == VALUE and seen[r["id"]].value["entries"]]
    filled = {_without_family(r["name"]) for r in full}
    if all(_without_family(r["name"]) in filled for r in sets):
        return
    run(["systemctl", "kill", "--signal=HUP", "--", UNIT], check=False)
    lookup.ask(asking)


def _without_family(name: str) -> str:
    return FAMILY.sub("-", name, 1)
