"""What does a power cut leave on a disk? Some in the middle of an apply: `python -m tests.crash.machine --moments 20`.

On the lab's virtual machine one generation is in force and confirmed, and the next is applied with a long window. At
moments spread over the writing of it qemu ends: what the guest had not yet written to its disk is lost, and that alone
(what the disk was told it has kept, flushed or not). After the boot the machine must be what it was. Prints a row a
moment, then a table, and ends with 1 where one of them went wrong.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.crash.judge import KEPT, Dump, Seen, differences, history
from tests.crash.stage import STORE
from tests.lab.machine import CALLER, Machine, drain_panics
from tests.witness import policy
from tests.witness.report import statuses

OLD, NEW = "/root/a.yml", "/root/b.yml"
CHANGES: tuple[policy.Change, ...] = (
    ("users: [vault-agent]", "users: [root]"),
    (f"from: [{CALLER}]", "from: [10.0.2.0/24]"),
    ('"10240 65535"', '"12000 65535"'),
    ("memory_max: 512M", "memory_max: 256M"),
    ("size: 16M", "size: 32M"),
)
NEWEST = f"$(ls {STORE}/generations/*.json | tail -1)"
# A moment is so many seconds after the record is there; the number of files that were written by then tells how far it
# came. What is to be in force, and is not yet, is `writing`.
WATCH = f"""
touch /run/began
systemd-run --quiet --collect --unit=applying {{settings}} \
    python3 -m hostguard apply --policy {NEW} --yes --restart --confirm-within 900s
until grep -qs '"status": "writing"' {NEWEST}; do sleep 0.1; done
{{then}}
echo "$(find /etc {STORE} -type f -newer /run/began | wc -l) files, $(head -c 40 {NEWEST} | cut -d'"' -f4)"
"""
UNTIL_WRITTEN = f'until grep -qs \'"status": "unconfirmed"\' {NEWEST}; do sleep 0.1; done'
# systemd gives /tmp half of the memory; connections are a moment's; chains stand in the order in which they were made,
# and iptables shows the same rules.
OF_THE_BOOT = re.compile(r"mounts: . /tmp tmpfs |ipset: . add hostguard-\d+-HELD |nft: ")


@dataclass
class Known:
    """What the machine was before, and how long the writing of the next generation takes there."""

    seconds: float
    dump: Dump = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)


def watch(machine: Machine, then: str) -> str:
    """Apply the next generation, and return at a moment of it what was written by then."""
    settings = " ".join(f"--setenv={name}={value}" for name, value in machine.settings.items())
    return machine.out(WATCH.format(settings=settings, then=then))


def prepare(machine: Machine) -> Known:
    machine.write(OLD, policy.example(where=policy.ON_A_MACHINE))
    machine.write(NEW, policy.example(*CHANGES, where=policy.ON_A_MACHINE))
    machine.hostguard("apply", "--policy", OLD, "--yes", "--restart", "--confirm-within", "0", check=True)
    # By the machine's own clock: what asks it from outside takes as long as the writing itself.
    told = watch(machine, f"date +%s.%N; {UNTIL_WRITTEN}; date +%s.%N").splitlines()
    seconds = float(told[1]) - float(told[0])
    machine.hostguard("rollback", "--yes", check=True)
    machine.reboot()
    return Known(seconds, machine.dump(), audited(machine))


def audited(machine: Machine) -> dict[str, str]:
    return statuses(json.loads(machine.hostguard("audit", "--policy", OLD, "--format", "json").stdout))


def judge(machine: Machine, known: Known) -> list[str]:
    """What is not as it was, in words."""
    listed = machine.out(f"cd {STORE} && find . -mindepth 1; ls /etc/systemd/system/*.wants | grep hostguard-re || :")
    seen = Seen(machine.dump(), listed.split(), machine.hostguard("history"))
    wrong = [line for line in differences(known.dump, seen.dump) if not OF_THE_BOOT.match(line)]
    wrong += [f"left: {path}" for path in seen.store if not KEPT.fullmatch(path)]
    rows = history(seen)
    if rows[:1] != [("applied", OLD)] or any(status not in ("failed", "rolled back") for status, _ in rows[1:]):
        wrong.append(f"history: {rows}")
    found = audited(machine)
    wrong += [f"audit: {name} is {found.get(name)}" for name, was in known.statuses.items() if found.get(name) != was]
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.machine", description=__doc__)
    parser.add_argument("--moments", type=int, default=20, metavar="N", help="so many power cuts; a boot each")
    parser.add_argument("--at", type=int, action="append", metavar="K", help="this moment alone; may be repeated")
    arguments = parser.parse_args()
    counts: Counter[str] = Counter()
    with Machine("power") as machine:
        known = prepare(machine)
        print(f"the writing takes {known.seconds:.1f} s", flush=True)
        for moment in arguments.at or range(1, arguments.moments + 1):
            began = time.monotonic()
            # The last of them is when all is written, and waits to be confirmed.
            at = known.seconds * (moment - 0.5) / (arguments.moments - 1 or 1)
            was = watch(machine, f"sleep {at:.2f}")
            state = machine.reset()
            wrong = judge(machine, known) + ([f"the machine is {state}"] if state != "running" else [])
            end = "OTHER THAN BEFORE" if wrong else "as before"
            counts[f"{was.rpartition(' ')[2]} | {end}"] += 1
            print(f"{time.monotonic() - began:5.0f} s  {end}  moment {moment}: {at:.1f} s, {was} "
                  f"{'| ' if wrong else ''}{'; '.join(wrong[:8])}", flush=True)  # fmt: skip
            if wrong:
                break  # what comes next would start from there: repeat it by --at
    print("\n| cut while | the machine is | moments |\n|---|---|---:|")
    for what, count in sorted(counts.items()):
        print(f"| {what} | {count} |")
    if said := drain_panics():
        print(said)
    return 1 if any("OTHER" in what for what in counts) or said else 0


if __name__ == "__main__":
    sys.exit(main())
