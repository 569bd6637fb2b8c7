"""The gateway's process on the stage, for faults that are done to itself."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hostguard.controls.gateway import instance
from hostguard.host import takeover
from hostguard.host.program import find
from hostguard.policy.gateway import ADMIN, RUN
from hostguard.rehearse import gateway
from hostguard.rehearse.faults.result import Event, Mark

PID_FILE = f"{RUN}/pid"
DRAIN = 1
"""Seconds that a process goes on when another takes over, whatever the policy says: nobody's request here is longer."""


@dataclass
class Running:
    """What is done is marked with the machine's own clock, in seconds."""

    behind: gateway.Behind
    accounts: Mapping[str, int]
    all_accounts: bool
    pid: int = 0
    marks: list[Mark] = field(default_factory=list)
    took: float = 0.0
    """Seconds that its start took, with nothing else to do."""
    why_not: str = ""
    """Why it does not serve; "" where it does."""

    @classmethod
    @contextlib.contextmanager
    def of(cls, behind: gateway.Behind, accounts: Mapping[str, int], all_accounts: bool) -> Iterator[Running]:
        """A process that serves, and knows where every provider is."""
        running = cls(behind, accounts, all_accounts)
        began = time.monotonic()
        process = running.launch()
        running.why_not = gateway.why_not(process, behind)
        running.took = time.monotonic() - began
        try:
            yield running
        finally:
            running.end()

    def launch(self) -> subprocess.Popen[bytes]:
        with Path(gateway.SAID).open("wb") as log:
            process = gateway.launch(self.behind, self.accounts, self.all_accounts, log)
        self.pid = process.pid
        return process

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):  # the first of this namespace is everybody's parent
            os.waitpid(self.pid, 0)

    def kill(self) -> None:
        """As the kernel does it, or kill -9."""
        self.mark("killed", "kill -9")
        self.end()

    def start(self) -> None:
        """As systemd does it by Restart=always: at once."""
        self.launch()
        gateway.within(gateway.live)  # not every name leads somewhere by now
        takeover.publish(RUN)
        self.mark("started", "a new process serves")

    def hand_over(self) -> None:
        """As the unit's reload does it."""
        options = {
            "program": gateway.PROGRAM, "bootstrap": instance.BOOTSTRAP, "admin": ADMIN, "pid-file": PID_FILE,
            "drain": str(self.behind.drain), "workers": gateway.WORKERS,
        }  # fmt: skip
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        become = gateway.become(self.accounts[self.behind.account]) if self.all_accounts else []
        with Path(gateway.SAID).open("ab") as log:
            argv = [*become, str(find("python3")), "-I", instance.START, *words]
            self.mark("started", "a second process is started beside the first")
            code = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
        if not code:
            self.pid = int(Path(PID_FILE).read_text(encoding="ascii"))
        self.mark("loaded", f"the takeover failed with code {code}" if code else "the first process has ended")

    def mark(self, event: Event, words: str) -> None:
        self.marks.append({"at": time.monotonic(), "event": event, "words": words})
