"""Another host, named by a URI and reached by a program that is there already: ssh, podman or docker."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from hostguard.host import arrival
from hostguard.host.program import find
from hostguard.host.resource import HostError
from hostguard.target import local, payload

LONGEST = 300.0
"""Seconds that a host may take to answer."""
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
        """What the host tells, until it ends or `stop` can be read from. Raises HostError as `ask` does, and where
        the way to the host broke.

        There the program ends with the first word that reaches nobody.
        """
        if find(self.way[0]) is None:
            raise HostError(f"{self.way[0]} is not installed on this machine")
        with tempfile.TemporaryFile() as errors:
            pipe = subprocess.PIPE
            # A session of its own: Ctrl-C is for us, not for ssh.
            program = subprocess.Popen(self._call(), stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)
            try:
                with contextlib.suppress(BrokenPipeError), program.stdin:  # type: ignore[union-attr]
                    program.stdin.write(payload.stdin(request))  # type: ignore[union-attr]
                for line in _lines(program.stdout.fileno(), stop):  # type: ignore[union-attr]
                    if line is None:
                        return
                    if line.startswith(arrival.MARK):
                        yield payload.answer(0, "\n" + line, "")
                errors.seek(0)
                if program.wait():
                    payload.answer(program.returncode, "", errors.read().decode("utf-8", "replace"))
            finally:
                program.kill()
                program.communicate()

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


def _lines(source: int, stop: int) -> Iterator[str | None]:
    """Whole lines as they come; None once `stop` can be read from."""
    rest = b""
    while True:
        ready, _, _ = select.select([source, stop], [], [])
        if stop in ready:
            yield None
            return
        data = os.read(source, 1 << 16)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
