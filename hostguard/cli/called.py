"""How this program was called, and the words that call it again: a hint that names a command names one that works."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

# Where sudo looks on Debian and on most others (secure_path in /etc/sudoers): not in a user's venv or pipx.
SUDO_LOOKS = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def command(words: str, looks_in: str | None = None) -> str:
    """The command that runs this hostguard, whether a shell (that looks in these folders) finds its name or not."""
    program = Path(sys.argv[0]).absolute()
    if program.name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m hostguard {words}"
    found = shutil.which(program.name, path=looks_in)
    same = found is not None and Path(found).resolve() == program.resolve()
    return f"{program.name if same else shlex.quote(str(program))} {words}"


def as_root(words: str) -> str:
    """The same as root, whether sudo finds it by its name or not."""
    return f"sudo {command(words, SUDO_LOOKS)}"


def again_as_root() -> str:
    """What was called just now, as root."""
    return as_root(shlex.join(sys.argv[1:]))


def is_root() -> bool:
    return os.geteuid() == 0
