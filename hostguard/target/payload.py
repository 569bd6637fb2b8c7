"""What travels to a host that is asked: one command, and on its standard input the host program and the request.

Nothing is written there, and any way that runs a command will do: ssh, podman exec, a connection of ansible's.
"""

from __future__ import annotations

import functools
import json
import shlex
import zlib
from collections.abc import Mapping
from typing import Any

from hostguard import answer as answers
from hostguard.host import arrival, sources
from hostguard.host.program import PYTHONS
from hostguard.host.resource import HostError
from hostguard.visible import visible

NO_PYTHON = 127
MOST_WORDS = 2000
"""Bytes of what was said instead of an answer."""


def command(interpreter: str | None = None) -> str:
    """A shell command; whose interpreter is not named takes the first that is there."""
    # -I and -S: the account's own settings and packages are none of ours.
    start = f"-I -S -c {shlex.quote(_start())}"
    if interpreter:
        return f"{shlex.quote(interpreter)} {start}"
    tries = " || ".join(f"p=$(command -v {each})" for each in PYTHONS)
    # To the other end, a program that closes without reading looks like a broken connection.
    nothing = f"{{ cat >/dev/null; echo 'python3 is not installed on this host' >&2; exit {NO_PYTHON}; }}"
    return f"{tries} || {nothing}; $p {start}"


def _start() -> str:
    return f"import sys,zlib;exec(zlib.decompress(sys.stdin.buffer.read({len(_program())})))"


@functools.cache
def _program() -> bytes:
    """The host program as one text of Python, compressed."""
    text = f"sources={sources.own()!r}\nhere={{}}\nexec(sources['arrival.py'],here)\nhere['run'](sources)\n"
    return zlib.compress(text.encode("utf-8"))


def stdin(request: Mapping[str, Any]) -> bytes:
    return _program() + zlib.compress(json.dumps(request).encode("ascii"))


def answer(do: str, code: int, stdout: bytes, stderr: bytes) -> dict[str, Any]:
    """What the host program answered to a question; {"error": …} where it could not. Raises HostError where it never
    ran, or where that makes no sense."""
    _, mark, said = (b"\n" + stdout).rpartition(b"\n" + arrival.MARK.encode())
    if not mark and b"zlib.error" in stderr:  # what comes first on standard input is compressed
        raise HostError(
            "a login file there (~/.bashrc, ~/.profile) reads standard input, and with it the request: let it do so "
            "on a terminal alone, `[ -t 0 ]`"
        )
    if not mark:
        words = visible((stderr.strip() or stdout.strip())[-MOST_WORDS:].decode("utf-8", "replace"), "\n").splitlines()
        raise HostError(words[-1] if words else f"the host program said nothing, and ended with {code}")
    return answers.read(do, said.partition(b"\n")[0])
