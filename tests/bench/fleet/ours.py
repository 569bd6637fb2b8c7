"""What `hostguard apply -i` does: have the engine run a playbook, and read what it tells.

`python -m tests.bench.fleet.ours INVENTORY POLICY [restart]`: prints a word a host.
"""

from __future__ import annotations

import sys

from hostguard.fleet import engine


def main(inventory: str, policy: str, *more: str) -> int:
    variables = {"hostguard_policy_file": policy, "hostguard_confirm_within": "60s",
                 "hostguard_restart": "restart" in more}  # fmt: skip
    bad = 0
    for event in engine.play("apply", engine.Target((inventory,)), variables):
        if event.status in ("hosts", "started"):
            continue
        bad += event.status != "ok"
        changes = [" ".join(change[:2]) for change in event.result.get("changes", [])]
        print(event.host, event.result.get("outcome", event.status), "; ".join(changes))
        if event.status != "ok":
            print(event.result.get("msg", ""))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
