"""Another host, named by a URI and reached by a program that is there already: ssh, podman or docker."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hostguard.host import arrival
from hostguard.host.program import find
from hostguard.host.resource import HostError
from hostguard.target import local, payload

LONGEST = 300.0
"""Seconds that a host may take to answer."""
LAST_WORDS = 10.0
"""Seconds for what is still to be said, once it has been asked to end."""
# BatchMode: several hosts can't ask one terminal for a password or whether a key is known.
SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20")
LOCAL = ("sh", "-c")
WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-f:.]*:[0-9a-f:.]*(%[A-Za-z0-9.-]+)?", re.ASCII)
EXPECTED = "local://, ssh://[USER@]HOST[:PORT], podman://NAME or docker://NAME"


class NoTarget(ValueError):
    """A URI that names no host."""


@dataclass(frozen=True)
class Remote:
    """`way` runs the shell command that is its last argument there; with `sudo` as root."""

    name: str
    way: tuple[str, ...]
    sudo: bool = False

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One round trip. Raises HostError where there is no way to the host, or it has no answer."""
        if find(self.way[0]) is None:
            raise HostError(f"{self.way[0]} is not installed on this machine")
        try:
            done = subprocess.run(
                self._call(), input=payload.stdin(request), capture_output=True, timeout=LONGEST, check=False
            )
        except subprocess.TimeoutExpired:
            raise HostError(f"no answer within {LONGEST:.0f} s") from None
        said = (done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
        return payload.answer(done.returncode, *said)

    def listen(self, request: Mapping[str, Any], stop: int) -> Generator[dict[str, Any]]:
        """What the host tells until it ends, of itself or once `stop` can be read from. Raises HostError as `ask` does,
        and where the way to the host broke.

        The program there ends with its standard input, so also where we are killed.
        """
        if find(self.way[0]) is None:
            raise HostError(f"{self.way[0]} is not installed on this machine")
        pipe = subprocess.PIPE
        with tempfile.TemporaryFile() as errors:
            # A session of its own: Ctrl-C is for us, not for ssh.
            program = subprocess.Popen(self._call(), stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)
            assert program.stdin is not None and program.stdout is not None  # noqa: S101, PT018 - they are pipes
            try:
                with contextlib.suppress(BrokenPipeError):  # it ended: its last words say why
                    program.stdin.write(payload.stdin(request))
                    program.stdin.flush()
                for line in _lines(program.stdout.fileno(), stop, program.stdin.close):
                    if line.startswith(arrival.MARK):
                        yield payload.answer(0, "\n" + line, "")
                if program.wait():
                    errors.seek(0)
                    payload.answer(program.returncode, "", errors.read().decode("utf-8", "replace"))
            finally:
                program.kill()
                with contextlib.suppress(BrokenPipeError):
                    program.stdin.close()
                program.stdout.close()
                program.wait()

    def _call(self) -> list[str]:
        # Whatever shell the account has, this is for sh.
        command = f"sh -c {shlex.quote(payload.command())}"
        return [*self.way, f"sudo -n {command}" if self.sudo else command]


def parse(uri: str, *, sudo: bool = False) -> Remote:
    """The host that a URI names. Raises NoTarget, which says what was expected."""
    if uri == "local://":
        return Remote(local.name(), LOCAL, sudo)
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise NoTarget(f"found {uri!r}, expected {EXPECTED}") from None
    beyond = parts.path or parts.query or parts.fragment or parts.password
    if parts.scheme == "ssh" and HOST.fullmatch(host) and not beyond:
        user = parts.username
        if user is None or WORD.fullmatch(user):
            options = () if port is None else ("-p", str(port))
            return Remote(host, (*SSH, *options, *(() if user is None else ("-l", user)), "--", host), sudo)
    name = parts.netloc
    if parts.scheme in ("podman", "docker") and WORD.fullmatch(name) and not beyond:
        # Names of containers know upper from lower case, which `hostname` does not keep.
        return Remote(name, (parts.scheme, "exec", "--interactive", name, *LOCAL), sudo)
    raise NoTarget(f"found {uri!r}, expected {EXPECTED}")


def _lines(source: int, stop: int, end: Callable[[], None]) -> Iterator[str]:
    """Whole lines as they come. Once `stop` can be read from: `end`, and what comes in the time that is left."""
    rest, waiting, left = b"", [source, stop], None
    while True:
        ready, _, _ = select.select(waiting, [], [], left)
        if stop in ready:
            end()
            waiting, left = [source], LAST_WORDS
            continue
        data = os.read(source, 1 << 16) if ready else b""
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
