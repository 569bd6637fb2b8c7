"""Can a policy lock somebody out? Hostile ones that nobody confirms: `python -m tests.crash.policies --count 100`.

Each is valid, and cuts off, or is odd. It is put into force for a moment, by an apply or a rollback with a window. Then
a new connection must come in again from the management network, and the host be what it was. Prints a row each, then a
table, and ends with 1 where somebody stayed out, or something is another than before.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from hostguard.policy.load import PolicyError, load
from tests.crash.judge import Dump, differences
from tests.crash.stage import NO_WINDOW
from tests.lab.lab import Lab
from tests.lab.process import LabError
from tests.patience import Patience, whole
from tests.witness import policy

WINDOW = 3
BACK_SECONDS = 30
"""After the window's end: whoever is not let in by then is locked out."""
PLACE = "/tmp/policy.yml"  # no file that a dump has
WAITS = "kept only if confirmed"
Tree = dict[str, Any]
Change = Callable[[Tree, random.Random], None]

GOOD: Tree = yaml.safe_load(policy.example())
ELSEWHERE = ("192.0.2.0/24", "10.77.0.128/25", "10.77.0.2/32", "198.51.100.66/32", "0.0.0.0/32")


class End(StrEnum):
    APPLIED = "back"  # it was in force, nobody confirmed, and all is as it was
    REFUSED = "refused"  # by `hostguard validate`
    BLOCKED = "blocked"  # by the host, before or while it was written
    SAME = "unchanged"
    LOCKED_OUT = "LOCKED OUT"
    UNLIKE = "NOT IDENTICAL"


BAD = (End.LOCKED_OUT, End.UNLIKE)


@dataclass(frozen=True)
class Hostile:
    """One of them: what is odd about it, and the policy, or the generation to roll back to."""

    number: int
    words: str
    tree: Tree | None = None
    to: int = 0


@dataclass(frozen=True)
class Result:
    base: str
    hostile: Hostile
    end: End
    why: str = ""
    cut: bool = False
    seconds: float = 0


def inbound(**ways: Tree) -> Change:
    return lambda tree, _: tree["egress"].update(inbound=ways)


def egress(**more: Any) -> Change:
    return lambda tree, _: tree["egress"].update(more)


def section(name: str, **more: Any) -> Change:
    return lambda tree, _: tree.setdefault(name, {}).update(more)


def kernel(key: str, value: str | int) -> Change:
    return lambda tree, _: tree["kernel"].update({key: value})


def elsewhere(tree: Tree, chance: random.Random) -> None:
    tree["egress"]["inbound"] = {"ssh": {"from": [chance.choice(ELSEWHERE)], "ports": [22]}}


def another_port(tree: Tree, chance: random.Random) -> None:
    tree["egress"]["inbound"] = {"ssh": {"from": ["10.77.0.0/24"], "ports": [chance.randint(23, 65535)]}}


def huge(tree: Tree, chance: random.Random) -> None:
    nets = [f"{chance.randint(20, 90)}.{number >> 8 & 255}.{number & 255}.0/24" for number in range(4000)]
    tree["egress"]["providers"] = {"payments": {"cidrs": sorted(set(nets)), "ports": [443]}}


def without(name: str) -> Change:
    def change(tree: Tree, _: random.Random) -> None:
        tree.pop(name, None)

    return change


# Ways in that lead nowhere; each policy has one of them, or the right one.
WAYS_IN: dict[str, Change] = {
    "in from elsewhere": elsewhere,
    "in by another port": another_port,
    "no way in": inbound(),
    "no inbound": lambda tree, _: tree["egress"].pop("inbound"),
    "in over IPv6 alone": inbound(ssh={"from": ["2001:db8:77::/64"], "ports": [22]}),
    "in over udp": inbound(ssh={"from": ["10.77.0.0/24"], "ports": [22], "protocol": "udp"}),
    "in for another service": inbound(web={"from": ["0.0.0.0/0", "::/0"], "ports": [80, 443]}),
    "the right way in": lambda _tree, _: None,
}
ODDITIES: dict[str, Change] = {
    "proxy user root": egress(proxy_user="root"),
    "proxy user vault-agent": egress(proxy_user="vault-agent"),
    "proxy user nobody has": egress(proxy_user="nosuch"),
    "direct": egress(via="direct", proxy_user=None),
    "resolvers elsewhere": egress(resolvers=["192.0.2.53", "2001:db8:bad::53"]),
    "no resolvers": egress(resolvers=[], resolver_users=None),
    "root alone asks resolvers": egress(resolver_users=["root"]),
    "no time servers": egress(time_servers=[]),
    "a huge set": huge,
    "a tiny set": egress(providers={"one": {"cidrs": ["192.0.2.1/32"], "ports": [1]}}),
    "other services only": egress(providers={}, services={
        "odd": {"cidrs": ["192.0.2.0/30"], "ports": [1, 65535], "users": ["envoy", "root"], "protocol": "udp"}}),
    "observe": egress(mode="observe"),
    "enforce": egress(mode="enforce"),
    "containers same": egress(containers="same"),
    "frames allow": egress(frames="allow"),
    "frames hold": egress(frames="hold"),
    "one port to call from": kernel("net.ipv4.ip_local_port_range", "60000 60001"),
    "IPv6 off": kernel("net.ipv6.conf.all.disable_ipv6", 1),
    "deaf to ARP": kernel("net.ipv4.conf.eth0.arp_ignore", 8),
    "deaf to ping": kernel("net.ipv4.icmp_echo_ignore_all", 1),
    "a short life": kernel("net.ipv4.ip_default_ttl", 1),
    "small buffers": kernel("net.ipv4.tcp_rmem", "4096 4096 4096"),
    "no backlog": kernel("net.core.somaxconn", 1),
    "no half-open ones": kernel("net.ipv4.tcp_max_syn_backlog", 1),
    "strict paths": kernel("net.ipv4.conf.all.rp_filter", 1),
    "forwarding": kernel("net.ipv4.ip_forward", 1),
    "secrets elsewhere": section("secrets", path="/run/others", owner="envoy", mode="0700"),
    "small secrets": section("secrets", size="4K"),
    "another slice": lambda tree, _: tree.update(slices={"other": {"units": ["envoy.service"], "tasks_max": 1}}),
    "a small slice": lambda tree, _: tree["slices"].update(egress={"memory_max": "4K", "tasks_max": 1}),
    "few files": section("limits", nofile=1024),
    "hardly any load": section("capacity", peak_rps=0.1, p99="1us", headroom=0.1),
    "a huge load": section("capacity", peak_rps=9_999_999, p99="60s", headroom=100),
    **{f"no {name}": without(name) for name in ("kernel", "limits", "slices", "secrets", "capacity", "platform")},
}  # fmt: skip


@dataclass(frozen=True)
class Base:
    """What is confirmed, and in force, before each: generations one over the other, the newest last."""

    name: str
    trees: Sequence[Tree]


def changed(*changes: Change) -> Tree:
    tree = copy.deepcopy(GOOD)
    for change in changes:
        change(tree, random.Random(0))
    return tree


# The first has a way in from elsewhere, so that a rollback to it cuts off; the second drops nothing.
BEFORE = (changed(elsewhere), changed(egress(mode="observe")))
BASES = (Base("enforce", (*BEFORE, GOOD)), Base("observe", (*BEFORE, GOOD, changed(egress(mode="observe")))))


def hostile(number: int, seed: int, base: Base) -> Hostile:
    """Always the same one for a number and a seed: of ten, two are rollbacks."""
    chance = random.Random(f"{seed} {base.name} {number}")
    if number % 5 == 4:
        to = chance.randrange(len(base.trees))
        return Hostile(number, f"rollback to {to}", to=to)
    tree = copy.deepcopy(GOOD)
    if number % 5 == 3:  # mode against mode
        tree["egress"]["mode"] = "enforce" if base.name == "observe" else "observe"
    # The last way in is the right one.
    names = [chance.choice(list(WAYS_IN)[: -1 if number % 5 else None])]
    WAYS_IN[names[0]](tree, chance)
    # What is left out is left out last.
    odd = set(chance.sample(list(ODDITIES), chance.randint(0 if number % 5 else 1, 4)))
    for name in (each for each in ODDITIES if each in odd):
        ODDITIES[name](tree, chance)
        names.append(name)
    return Hostile(number, f"{tree['egress']['mode']}: {', '.join(names)}", tree)


def refused(tree: Tree) -> str:
    """Why `hostguard validate` says no; "" where it does not."""
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump(tree, file)
        file.flush()
        try:
            load(Path(file.name))
        except PolicyError as error:
            return str(error.problems[0]).partition(": ")[2]
    return ""


KNOCK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], 22), timeout=float(sys.argv[2])) as there:
        there.settimeout(float(sys.argv[2]))
        sys.exit(not there.recv(4).startswith(b"SSH"))
except OSError:
    sys.exit(1)
"""


class Trial:
    """A host with a base in force, on which one after the other is tried. Use it with `with`."""

    def __init__(self, lab: Lab, base: Base) -> None:
        self.lab, self.base = lab, base
        self.host = lab.host("hostile")
        self.host.run("systemctl start ssh")
        for tree in base.trees:
            self.host.write(PLACE, json.dumps(tree))
            done = self.host.hostguard("apply", "--policy", PLACE, "--yes", "--restart", *NO_WINDOW)
            if done.returncode:
                raise LabError(f"the base {base.name} can't be applied: {done.stderr}")
        if not self.lets_in():
            raise LabError(f"the base {base.name} lets nobody in")
        self.before: Dump = self.host.dump()

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self.lab.hosts.pop("hostile").remove()

    def lets_in(self, seconds: float = 1) -> bool:
        """Whether a new connection from the management network hears the host's sshd."""
        knock = [sys.executable, "-I", "-S", "-c", KNOCK, self.host.address.ipv4, whole(seconds)]
        return self.host.world.run(knock, check=False).returncode == 0

    def suffer(self, hostile: Hostile) -> Result:
        began = time.monotonic()

        def ends(end: End, why: str = "", cut: bool = False) -> Result:
            return Result(self.base.name, hostile, end, why, cut, time.monotonic() - began)

        command = ["rollback", "--to", str(hostile.to)]
        if hostile.tree is not None:
            if why := refused(hostile.tree):
                return ends(End.REFUSED, why)
            self.host.write(PLACE, json.dumps(hostile.tree))
            command = ["apply", "--policy", PLACE]
        was_in_force, cut, said = self._carry_out(command)
        patience = Patience(BACK_SECONDS)
        while not self.lets_in():
            if not patience.left():
                return ends(End.LOCKED_OUT, said, cut)
        if found := differences(self.before, self.host.dump()):
            return ends(End.UNLIKE, f"{len(found)}: {'; '.join(found[:6])}", cut)
        if was_in_force:
            return ends(End.APPLIED, cut=cut)
        return ends(End.SAME if "Nothing to change" in said else End.BLOCKED, said)

    def _carry_out(self, command: Sequence[str]) -> tuple[bool, bool, str]:
        """Whether it waited to be confirmed, whether nobody got in then, and its last words."""
        asked = [*command, "--yes", "--confirm-within", whole(WINDOW) + "s"]
        argv = ["timeout", whole(120), "python3", "-m", "hostguard", *asked]
        said, waited, cut = [""], False, False
        with subprocess.Popen(
            self.host.inside(argv, env=self.host.settings),
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as running:  # fmt: skip
            assert running.stdout is not None
            for line in running.stdout:
                said.append(line.strip())
                if WAITS in line:
                    waited, cut = True, not self.lets_in()
        return waited, cut, said[-1] if waited else " ".join(said[-3:])


def run(lab: Lab, base: Base, seed: int, numbers: Iterator[int], wanted: int) -> Iterator[Result]:
    """Until so many of them were in force; what went wrong has a new host after it."""
    trial: Trial | None = None
    in_force = 0
    try:
        while in_force < wanted and (number := next(numbers, None)) is not None:
            trial = trial or Trial(lab, base)
            result = trial.suffer(hostile(number, seed, base))
            in_force += result.end in (End.APPLIED, *BAD)
            if result.end in BAD:
                trial.__exit__()
                trial = None
            yield result
    finally:
        if trial:
            trial.__exit__()


def report(results: Sequence[Result]) -> None:
    print(f"\n| before | by | {' | '.join(End)} | cut off within |\n|---|---|{'---:|' * (len(End) + 1)}")
    groups = Counter((each.base, "rollback" if each.hostile.tree is None else "apply") for each in results)
    for base, kind in groups:
        own = [each for each in results if (each.base, each.hostile.tree is None) == (base, kind == "rollback")]
        print(f"| {base} | {kind} | {cells(own)} |")
    print(f"| all | | {cells(results)} |")


def cells(results: Sequence[Result]) -> str:
    counts = [sum(each.end == end for each in results) for end in End]
    return " | ".join(map(str, [*counts, sum(each.cut for each in results)]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.policies", description=__doc__)
    parser.add_argument("--count", type=int, default=100, metavar="N", help="so many that are in force for a moment")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="others of them")
    parser.add_argument("--base", choices=[base.name for base in BASES], help="this in force before; else each")
    parser.add_argument("--only", type=int, action="append", metavar="K", help="this number alone; may be repeated")
    arguments = parser.parse_args()
    bases = [base for base in BASES if arguments.base in (None, base.name)]
    results: list[Result] = []
    with Lab() as lab:
        for at, base in enumerate(bases):
            wanted = (arguments.count + at) // len(bases)
            numbers = iter(arguments.only or range(100 * wanted))
            for result in run(lab, base, arguments.seed, numbers, wanted):
                results.append(result)
                cut = "cut off" if result.cut else ""
                print(f"{result.seconds:5.1f} s  {result.end:13} {cut:7} {base.name} {result.hostile.number}: "
                      f"{result.hostile.words}{' | ' if result.why else ''}{result.why[:600]}", flush=True)  # fmt: skip
    report(results)
    return 1 if any(result.end in BAD for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
