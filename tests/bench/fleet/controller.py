"""Who brings a fleet into the policy's state, each as a command that the lab's controller runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.figure import Unmeasured
from tests.lab.fleet import SSH, Fleet
from tests.lab.network import inside

RIVALS = Path(__file__).with_name("rivals")
BIN = Path(sys.executable).parent  # not resolved: the commands of an environment stand beside its link
QUIET = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_DEPRECATION_WARNINGS": "False", "ANSIBLE_RETRY_FILES_ENABLED": "False"}
FORKS = "50"  # as hostguard's own engine has it, and more than there are hosts


@dataclass(frozen=True)
class Command:
    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    wanted: str = ""
    """What it prints, once a host, when nothing was to be done."""
    well: Sequence[int] = (0,)


class Controller:
    """Runs commands over the first so many hosts of a fleet."""

    def __init__(self, fleet: Fleet, policy: Path) -> None:
        self.fleet, self.policy = fleet, policy

    def inventory(self, names: Sequence[str]) -> Path:
        """An inventory of these hosts alone; the rivals get no limit to work out."""
        place = self.fleet.folder / f"inventory-{names[0]}-{len(names)}.yml"
        if not place.exists():
            whole = self.fleet.inventory
            self.fleet.inventory = place
            self.fleet.write_inventory({name: self.fleet.hosts[name].address.ipv4 for name in names})
            self.fleet.inventory = whole
        return place

    def apply(self, names: Sequence[str], *more: str) -> Command:
        argv = [sys.executable, "-m", "tests.bench.fleet.ours", str(self.inventory(names)), str(self.policy)]
        return Command("apply", [*argv, *more], wanted="unchanged")

    def audit(self, names: Sequence[str], *, anew: bool) -> Command:
        """Over new connections, or over those that ansible left open. One that finds something has done its work."""
        argv = [str(BIN / "hostguard"), "audit", "--inventory", str(self.inventory(names)), "--policy"]
        env = {"ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none"} if anew else {}
        return Command("audit anew" if anew else "audit", [*argv, str(self.policy)], env, well=(0, 1))

    def stock(self, names: Sequence[str]) -> Command:
        return Command(
            "stock", self._playbook("stock.yml", names), {**QUIET, "ANSIBLE_PIPELINING": "True"}, "changed=0 "
        )

    def tuned(self, names: Sequence[str]) -> Command:
        return Command(
            "tuned", self._playbook("tuned.yml", names), {**QUIET, "ANSIBLE_PIPELINING": "True"}, "changed=0 "
        )

    def _playbook(self, name: str, names: Sequence[str]) -> list[str]:
        return [str(BIN / "ansible-playbook"), "--inventory", str(self.inventory(names)), "--forks", FORKS,
                "--extra-vars", f"@{self.fleet.folder / 'variables.json'}", str(RIVALS / name)]  # fmt: skip

    def ping(self, names: Sequence[str]) -> Command:
        argv = [str(BIN / "ansible"), "all", "--inventory", str(self.inventory(names)), "--forks", FORKS, "-m", "ping"]
        return Command("ping", argv, {**QUIET, "ANSIBLE_PIPELINING": "True"}, "SUCCESS")

    def pyinfra(self, names: Sequence[str]) -> Command:
        place = self.fleet.folder / f"pyinfra-{names[0]}-{len(names)}.py"
        data = {"ssh_user": "root", "ssh_key": str(self.fleet.key), "ssh_strict_host_key_checking": "no",
                "ssh_known_hosts_file": "/dev/null", "ssh_look_for_keys": False, "ssh_allow_agent": False}  # fmt: skip
        hosts = [(self.fleet.hosts[name].address.ipv4, data) for name in names]
        place.write_text(f"hosts = {hosts!r}\n", encoding="utf-8")
        argv = [str(BIN / "pyinfra"), "--yes", str(place), str(RIVALS / "deploy.py")]
        return Command("pyinfra", argv, {"RIVAL_VARIABLES": str(self.fleet.folder / "variables.json")}, "Success")

    def ssh(self, names: Sequence[str]) -> Command:
        """All at once, each by a connection of its own, as `ssh` makes one when nobody tells it otherwise."""
        options = ("-i", str(self.fleet.key), *SSH, "-o", "ControlPath=none")
        each = [["ssh", *options, f"root@{self.fleet.hosts[name].address.ipv4}", "python3 -c pass"] for name in names]
        return Command("ssh", [sys.executable, "-m", "tests.bench.fleet.at_once", json.dumps(each)])

    def outside(self, command: Command) -> tuple[list[str], dict[str, str]]:
        """A command with its way into the lab's world, and its environment, for who watches it from outside."""
        return [*inside(self.fleet.lab.world.name), *command.argv], {**self.fleet.settings(), **command.env}

    def run(self, command: Command, hosts: int, *, checked: bool = True) -> float:
        """How long it takes, in seconds."""
        start = time.perf_counter()
        try:
            done = self.fleet.run(command.argv, env=command.env)
        except subprocess.TimeoutExpired as slow:
            raise Unmeasured(f"`{' '.join(command.argv[:3])}` did not end within {slow.timeout:.0f} s") from None
        taken = time.perf_counter() - start
        # As they come: a run that somebody breaks off has shown what it knew.
        print(f"bench: {command.name}, {hosts}: {taken:.2f} s", file=sys.stderr, flush=True)
        said = done.stdout + done.stderr
        if done.returncode not in command.well or (checked and command.wanted and said.count(command.wanted) < hosts):
            raise Unmeasured(f"`{' '.join(command.argv[:3])}` ended with {done.returncode}: {said.strip()[-1500:]}")
        return taken
