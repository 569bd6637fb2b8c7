"""A fleet over SSH: hostguard's playbooks against ansible's own modules, pyinfra, a ping and plain ssh."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from difflib import unified_diff
from functools import partial
from pathlib import Path
from statistics import median

from tests.bench.figure import Curve, Figure, Unmeasured, in_turn
from tests.bench.fleet import memory, wanted
from tests.bench.fleet.controller import Command, Controller
from tests.lab import Lab, LabError
from tests.lab.fleet import Fleet
from tests.lab.process import whats_missing
from tests.witness.policy import example

HOSTS = int(os.environ.get("BENCH_HOSTS", "20"))
SPARE = 4
"""More than those: where the rivals show that they come to the same state, and for the end of the curve."""
SIZES = (5, 10, 15, 20, 24)
ROUNDS = 3
TUNED_ROUNDS = 2
STOCK_ROUNDS = 1
RIVALS = ("stock", "tuned", "pyinfra")


def measure() -> list[Figure | Curve]:
    """Lab hosts with the example policy in force, reached by SSH from one controller; every run finds nothing to do,
    and says so. Pairs are run right after one another. `stock`: one task of ansible-core's own modules for every rule,
    kernel parameter, file and unit, with pipelining and as many forks as hosts. `tuned`: files, and handlers that load
    them at once, no facts, pipelining, strategy free. `pyinfra`: its own operations, all hosts at once. Each of them
    brought a fresh host of this run into the very state that hostguard brought another one into (rules, sets, kernel
    parameters, mount, slice, limits, units, as the host's own tools tell them), and hostguard then found nothing to do
    there. They do less: none records what it replaces, none can go back, none waits to be confirmed, none looks again
    after it wrote; tuned and pyinfra look at files and not at the rules in the kernel (tuned not at live kernel
    parameters either), and stock not at the order of rules nor at rules that are too many. hostguard's own time is that
    of its engine, which runs ansible-playbook and reads what it tells. `audit`: the whole command, against
    `ssh HOST python3 -c pass` to all hosts at once, a connection each. The curve's memory is that of all processes of
    the controller, ssh's included: rss as `ps` adds it up, pss with shared pages counted once."""
    if missing := whats_missing():
        raise Unmeasured(missing)
    if importlib.util.find_spec("pyinfra") is None:
        raise Unmeasured("pyinfra is not installed here: `make bench` installs it (pip install --group bench)")
    try:
        with Lab() as lab, tempfile.TemporaryDirectory(prefix="bench-") as folder:
            fleet = Fleet(lab, Path(folder), [f"h{number:02}" for number in range(1, HOSTS + SPARE + 1)])
            policy = Path(folder, "hostguard.yml")
            policy.write_text(example(), encoding="utf-8")
            return of(Controller(fleet, policy))
    except LabError as error:
        raise Unmeasured(str(error)) from None


def of(controller: Controller) -> list[Figure | Curve]:
    names = list(controller.fleet.hosts)
    say("every rival brings a fresh host into the policy's state")
    same_state(controller, names[0], names[-len(RIVALS) :])
    controller.run(controller.apply(names, "restart"), len(names), checked=False)
    found: list[Figure | Curve] = []
    found += compared(controller, names[:1], (5, 3, 1))
    found += compared(controller, names[:HOSTS], (ROUNDS, TUNED_ROUNDS, STOCK_ROUNDS))
    return [*found, curve(controller, names)]


def same_state(controller: Controller, first: str, others: Sequence[str]) -> None:
    fleet = controller.fleet
    resources = wanted.resources(controller.policy, fleet.hosts[first])
    wanted.write(fleet.folder, resources)
    variables = wanted.variables(resources)
    controller.run(controller.apply([first], "restart"), 1, checked=False)
    reference = wanted.state(fleet.hosts[first], variables)
    for rival, name in zip(RIVALS, others, strict=True):
        controller.run(getattr(controller, rival)([name]), 1, checked=False)
        difference = unified_diff(reference.splitlines(), wanted.state(fleet.hosts[name], variables).splitlines(), n=0)
        if said := "\n".join(difference):
            raise Unmeasured(f"{rival} does not come to the state that the policy wants:\n{said}")
        controller.run(controller.apply([name]), 1)


def compared(controller: Controller, names: Sequence[str], rounds: tuple[int, int, int]) -> list[Figure]:
    few, tuned_rounds, stock_rounds = rounds
    hosts = f"{len(names)} host{'s' if len(names) > 1 else ''}"

    def timed(command: Command) -> Callable[[], float]:
        return partial(controller.run, command, len(names))

    apply = timed(controller.apply(names))
    say(f"{hosts}: apply, ping, pyinfra, audit, ssh, {few} rounds")
    others = (controller.ping(names), controller.pyinfra(names), controller.ssh(names),
              controller.audit(names, anew=True), controller.audit(names, anew=False))  # fmt: skip
    ours, ping, pyinfra, ssh, anew, audit = in_turn(few, apply, *map(timed, others))
    say(f"{hosts}: tuned, {tuned_rounds} rounds")
    by_tuned, tuned = in_turn(tuned_rounds, apply, timed(controller.tuned(names)), warm=False)
    say(f"{hosts}: stock, {stock_rounds} round{'s' if stock_rounds > 1 else ''}")
    by_stock, stock = in_turn(stock_rounds, apply, timed(controller.stock(names)), warm=False)
    apply_is = "apply, nothing to do"
    rows = (
        (f"{hosts}, stock", apply_is, "one stock ansible task an item", by_stock, stock, "≤ 1/15"),
        (f"{hosts}, tuned", apply_is, "a tuned ansible role", by_tuned, tuned, "≤ 1/4"),
        (f"{hosts}, pyinfra", apply_is, "pyinfra", ours, pyinfra, "< 1"),
        (f"{hosts}, ping", apply_is, "ansible -m ping", ours, ping, "≤ 1.5"),
        (f"{hosts}, audit", "hostguard audit -i", "ssh HOST python3 -c pass", anew, ssh, "≤ 1.5"),
        (f"{hosts}, audit again", "the same, connections open", "ssh HOST python3 -c pass", audit, ssh, ""),
    )
    return [Figure(*row) for row in rows]


def curve(controller: Controller, names: Sequence[str]) -> Curve:
    rows = []
    for size in [size for size in SIZES if size <= len(names)]:
        say(f"{size} hosts: memory")
        some = names[:size]
        command = controller.apply(some)
        taken = median(controller.run(command, size) for _ in range(2))
        peak = memory.peak(*controller.outside(command), controller.fleet.lab.world.name)
        rows.append(
            (str(size), f"{taken:.2f} s", f"{taken / size * 1000:.0f} ms", f"{peak.resident / 2**20:.0f} MB",
             f"{peak.proportional / 2**20:.0f} MB", f"{peak.proportional / 2**20 / size:.1f} MB",
             str(peak.processes))
        )  # fmt: skip
    columns = ("hosts", "time", "a host", "rss", "pss", "pss a host", "processes")
    return Curve("Converged apply over a fleet, time and peak memory of the controller", columns, rows)


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)
