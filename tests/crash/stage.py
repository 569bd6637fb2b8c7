"""A lab host on which faults are tried one after the other: prepared, put back between two of them, looked at."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash import injector, ladders
from tests.crash.judge import Dump, Seen, differences
from tests.lab.any_host import Completed
from tests.lab.host import Host
from tests.lab.lab import Lab
from tests.lab.process import LabError
from tests.patience import Patience

STORE = "/var/lib/hostguard"
NO_WINDOW = ("--confirm-within", "0")
ROLLBACK = ("rollback", "--yes", "--restart", *NO_WINDOW)
SAID = "/tmp/crash-said"
SETTLED_SECONDS = 30
COMMAND_SECONDS = 120
ROOM_SECONDS = 4
"""How long a disk stays full before somebody makes room. Who waits for the end of a window waits for that, too."""

# Whether anything of hostguard still runs, waits for its turn, or is to be started again; or a gateway hands over. A
# systemd that does not answer is one that is being executed anew, by a way back.
AT_WORK = f"""
pgrep -f '{injector.FOLDER}/injector[.]py' > /dev/null && exit 0
shown=$(systemctl show --all --property=Id,ActiveState,ExecStart -- 'hostguard-*') || exit 0
printf '%s\\n' "$shown" | awk -v RS= '
    (/[.]timer/ || index($0, "{injector.PYTHON}")) && /ActiveState=(active|activating|deactivating)/ {{ found = 1 }}
    /ActiveState=reloading/ {{ found = 1 }}
    END {{ exit !found }}'
"""
# A service that was started under hostguard's limits keeps them until it is restarted, and its slice with it: that is
# owed, and said. systemd remembers what has failed until it is told not to.
PAY = """
systemctl reset-failed 'hostguard-*' 2> /dev/null
if [ ! -e /etc/systemd/system/hostguard-egress.slice ] && systemctl -q is-active hostguard-egress.slice; then
    systemctl restart envoy.service
    systemctl stop hostguard-egress.slice hostguard.slice
fi
"""


class Stage:
    """One host, and what it looked like at each level that it was brought to. Use it with `with`."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab, self.name = lab, name
        self.host: Host | None = None
        self.ladder = ladders.HOST
        self.level = 0  # so many generations are in force
        self.known: dict[int, Dump] = {}
        self.unlike: list[str] = []  # how the host differs from what it was brought back to

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """The host is not what it should be: the next one is another."""
        if self.host:
            self.lab.hosts.pop(self.name).remove()
        self.host = None

    @property
    def there(self) -> Host:
        assert self.host
        return self.host

    @property
    def policies(self) -> dict[int, str]:
        """By level, where the policy that is wanted there lies."""
        return ladders.places(self.ladder.policies)

    def be_at(self, ladder: ladders.Ladder, level: int) -> None:
        """Have this many generations of the ladder in force, and know how the host looks at each of its levels."""
        if self.host is None or self.ladder is not ladder:
            self.ladder = ladder
            self._begin()
        while self.level > level:
            if not self.go_back(self.level - 1):
                self._begin()
        while self.level < level:
            self._climb()

    def _begin(self) -> None:
        """A new host; what it will look like at every level is seen once, and again wherever it is brought there."""
        self.furnish()
        self.ladder.furnish(self.there)
        for level, path in self.policies.items():
            self.there.write(path, self.ladder.policies[level - 1])
        self.level = 0
        self._keep()
        for _ in self.policies:
            self._climb()
        if not self.go_back(0):
            raise LabError(f"a host that nothing happened to does not go back: {self.unlike}")

    def furnish(self) -> None:
        """Start a new host, with the Python that may strike."""
        self.leave()
        self.host = self.lab.host(self.name, options=self.ladder.options)
        self.host.write(f"{injector.FOLDER}/injector.py", Path(injector.__file__).read_text())
        self.host.write(injector.PYTHON, injector.LAUNCHER, mode="755")

    def _climb(self) -> None:
        done = self.hostguard(*self.apply(self.level + 1), *NO_WINDOW)
        if done.returncode:
            raise LabError(f"no fault, and yet: {done.stdout}{done.stderr}")
        self.level += 1
        self._keep()

    def _keep(self) -> None:
        """Remember this level: the dump, and hostguard's own memory."""
        self.known[self.level] = self.there.dump()
        kept = f"{injector.FOLDER}/store-{self.level}"
        self.there.run(f"rm -rf {kept}; [ ! -e {STORE} ] || cp -a {STORE} {kept}")

    def go_back(self, level: int) -> bool:
        """Undo generations; tell whether the host is then what it was."""
        if self.there.run(["test", "-e", f"{STORE}/generations"], check=False).returncode == 0:
            self.hostguard(*ROLLBACK, "--to", str(level))
        self.there.run(PAY, check=False)
        return self.is_at(level, self.there.dump())

    def is_at(self, level: int, dump: Dump) -> bool:
        """Take up from here, if the host is what it was at this level."""
        found = self.unlike = differences(self.known[level], dump)
        if not found:
            self.level = level
            kept = f"{injector.FOLDER}/store-{level}"
            self.there.run(f"rm -rf {STORE}; [ ! -e {kept} ] || cp -a {kept} {STORE}")
        return not found

    def apply(self, level: int) -> tuple[str, ...]:
        return ("apply", "--policy", self.policies[level], "--yes", "--restart")

    def hostguard(self, *arguments: str) -> Completed:
        """A command of hostguard's, by the Python that may strike."""
        command = [injector.PYTHON, "-m", "hostguard", *arguments]
        return self.there.run(command, check=False, env=self.there.settings, timeout=COMMAND_SECONDS)

    def in_the_background(self, *arguments: str) -> None:
        """An apply with a window, until it waits for its confirmation, or has ended."""
        command = shlex.join([injector.PYTHON, "-m", "hostguard", *arguments])
        self.there.run(f"setsid {command} > {SAID} 2>&1 < /dev/null &", env=self.there.settings)
        waits = f"until grep -q 'kept only if confirmed' {SAID} || ! pgrep -f 'hostguard apply'; do sleep 0.05; done"
        self.there.run(waits, timeout=60)

    def plan(self, process: str, fault: str, **more: float | str | bool) -> str:
        """From now on the process of this name suffers this; return the plan that this replaces."""
        return self.take_up(json.dumps({"process": process, "fault": fault, **more}))

    def take_up(self, plan: str) -> str:
        """Make this the plan; return the one that it replaces."""
        script = (
            f"cat {injector.PLAN}; rm -f {injector.FIRED} {injector.POINTS}; cat > {injector.PLAN} <<'END'\n{plan}\nEND"
        )
        return self.there.run(script).stdout

    def mend(self) -> None:
        self.there.run(["rm", "-f", injector.PLAN])

    def fired(self) -> str:
        """What was struck; "" where the point never came."""
        return self.there.run(["cat", injector.FIRED], check=False).stdout.strip()

    def points(self) -> list[tuple[str, str]]:
        text = self.there.run(["cat", injector.POINTS], check=False).stdout
        return [(what, subject) for what, subject in map(json.loads, text.splitlines())]

    def is_at_work(self) -> bool:
        return self.there.run(AT_WORK, check=False).returncode == 0

    def settle(self, window: float) -> bool:
        """Wait until nobody is at work any more; tell whether that came to be in time."""
        return within(window + SETTLED_SECONDS, lambda: not self.is_at_work())

    def look(self) -> Seen:
        """The host as it is, what hostguard keeps there, and what it says of it."""
        listed = self.there.run(f"{PAY}\ncd {STORE} && find . -mindepth 1 | sort", check=False).stdout
        return Seen(self.there.dump(), listed.split(), self.hostguard("history"))


def within(seconds: float, true: Callable[[], bool]) -> bool:
    patience = Patience(seconds)
    while not true():
        if not patience.left():
            return False
        time.sleep(0.05)
    return True
