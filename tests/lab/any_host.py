"""What every host of the lab can be asked, whatever it is made of."""

from __future__ import annotations

import json
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

Completed = subprocess.CompletedProcess[str]

DUMPER = Path(__file__).with_name("dumper.py")


class AnyHost(ABC):
    """A host in which programs can be run as root; all else follows from that."""

    settings: Mapping[str, str]  # the environment in which its Python finds hostguard

    @abstractmethod
    def run(
        self,
        command: str | Sequence[str],
        *,
        check: bool = True,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 300,
    ) -> Completed:
        """Run a program in the host as root. A string goes to its shell, a list does not."""

    @abstractmethod
    def reboot(self) -> str:
        """Shut down in order and boot again; return "running" or "degraded"."""

    @abstractmethod
    def remove(self) -> None:
        """Destroy the host and all that it was made of."""

    def out(self, command: str | Sequence[str]) -> str:
        """What a program in the host prints, without the last newline. It must succeed."""
        return self.run(command).stdout.rstrip("\n")

    def hostguard(
        self,
        *arguments: str,
        check: bool = False,
        input: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run this repository's hostguard in the host, straight from the sources."""
        command = ["python3", "-m", "hostguard", *arguments]
        return self.run(command, check=check, input=input, env={**self.settings, **(env or {})})

    def write(self, path: str, text: str, *, mode: str = "644") -> None:
        """Put a file into the host, and the folders on the way to it."""
        script = 'mkdir -p "$(dirname "$1")" && cat > "$1" && chmod "$2" "$1"'
        self.run(["sh", "-c", script, "sh", path, mode], input=text)

    def state(self) -> str:
        """What systemd says of the whole system: running, degraded, ..."""
        return self.run(["systemctl", "is-system-running"], check=False).stdout.strip()

    def dump(self) -> dict[str, str]:
        """Everything about the host that a rollback must restore, as text by section; see dumper.py."""
        sections: dict[str, str] = json.loads(self.run(["python3", "-"], input=DUMPER.read_text()).stdout)
        return sections
