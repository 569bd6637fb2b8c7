"""Another host, named by a URI and reached by a program that is there already: ssh, podman or docker."""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any
from urllib.parse import urlsplit

from hostguard.host import arrival
from hostguard.host.program import find
from hostguard.host.resource import HostError
from hostguard.target import bounded, local, payload
from hostguard.target.bounded import USUAL, Limits
from hostguard.target.schemes import FORMS, SCHEMES, SHELL

LAST_WORDS = 10.0
"""Seconds for what is still to be said, once it has been asked to end."""
SILENCE = 60.0
"""Seconds without a word of a host that says something every second."""
MOST_ERRORS = 1 << 16
"""Bytes that are kept of what a listening host complains of."""
MARK = arrival.MARK.encode()
EXPECTED = f"local://, {FORMS}"


class NoTarget(ValueError):
    """A URI that names no host."""


@dataclass(frozen=True)
class Remote:
    """`way` runs the shell command that is its last argument there; with `sudo` as root."""

    name: str
    way: tuple[str, ...]
    sudo: bool = False
    limits: Limits = USUAL

    def ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """One round trip. Raises HostError where there is no way to the host, or it has no answer within the limits."""
        if find(self.way[0]) is None:
            raise HostError(f"{self.way[0]} is not installed on this machine")
        code, said, errors = bounded.run(self._call(), payload.stdin(request), self.limits)
        return payload.answer(str(request["do"]), code, said, errors)

    def listen(self, request: Mapping[str, Any], stop: int) -> Generator[dict[str, Any]]:
        """What the host tells until it ends, of itself or once `stop` can be read from. Raises HostError as `ask` does,
        and where the way to the host broke.

        The program there ends with its standard input, so also where we are killed.
        """
        if find(self.way[0]) is None:
            raise HostError(f"{self.way[0]} is not installed on this machine")
        pipe = subprocess.PIPE
        # A session of its own: Ctrl-C is for us, not for ssh.
        program = subprocess.Popen(self._call(), stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
        stdin, stdout, stderr = program.stdin, program.stdout, program.stderr
        assert stdin is not None and stdout is not None and stderr is not None  # noqa: S101, PT018 - they are pipes
        # By a thread: a program that does not read would hold up both sides.
        feeder = threading.Thread(target=_feed, args=(stdin, payload.stdin(request)), daemon=True)
        feeder.start()
        errors = bytearray()
        try:
            # A program that has not read the question yet does not see that its input ended.
            end = lambda: _end(program) if feeder.is_alive() else _close(stdin)  # noqa: E731
            for line in _lines(stdout.fileno(), stderr.fileno(), errors, stop, end, self.limits):
                if line.startswith(MARK):
                    yield payload.answer("observe", 0, line, b"")
            try:
                code = program.wait(LAST_WORDS)
            except subprocess.TimeoutExpired:
                raise HostError("it does not end, and says nothing more") from None
            if code:
                payload.answer("observe", code, b"", bytes(errors))
        finally:
            _end(program)
            program.wait()
            feeder.join()
            _close(stdin)
            stdout.close()
            stderr.close()

    def _call(self) -> list[str]:
        # Whatever shell the account has, this is for sh.
        command = f"sh -c {shlex.quote(payload.command())}"
        return [*self.way, f"sudo -n {command}" if self.sudo else command]


def parse(uri: str, *, sudo: bool = False, limits: Limits = USUAL) -> Remote:
    """The host that a URI names. Raises NoTarget, which says what was expected."""
    if uri == "local://":
        return Remote(local.name(), SHELL, sudo, limits)
    with contextlib.suppress(ValueError):  # urlsplit's, of brackets and ports
        parts = urlsplit(uri)
        scheme = SCHEMES.get(parts.scheme)
        beyond = parts.path or parts.query or parts.fragment or parts.password
        if scheme and not beyond and (found := scheme.way(parts)):
            return Remote(*found, sudo, limits)
    raise NoTarget(f"found {uri!r}, expected {EXPECTED}")


def _feed(stdin: IO[bytes], text: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):  # it ended, and its last words say why
        stdin.write(text)
        stdin.flush()


def _end(program: subprocess.Popen[bytes]) -> None:
    """With all that it started."""
    with contextlib.suppress(OSError):
        os.killpg(program.pid, signal.SIGKILL)


def _close(stdin: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        stdin.close()


def _lines(
    source: int, complaints: int, errors: bytearray, stop: int, end: Callable[[], None], limits: Limits
) -> Iterator[bytes]:
    """Whole lines as they come. Once `stop` can be read from: `end`, and what comes in the time that is left. Raises
    HostError for a line past the limit, and for a host that falls silent."""
    rest, left = bytearray(), limits.seconds  # it is still on its way
    over: float | None = None
    waiting = {source, complaints, stop}
    while source in waiting:
        if over is not None:
            left = over - time.monotonic()
        ready, _, _ = select.select(list(waiting), [], [], max(0.0, left))
        if not ready:
            if over is not None:
                return
            raise HostError(f"no word of it within {left:g} s: the way to it is broken, or it is")
        if stop in ready:
            waiting.discard(stop)
            over = time.monotonic() + LAST_WORDS
            end()
        if complaints in ready:
            data = os.read(complaints, 1 << 16)
            errors += data
            del errors[:-MOST_ERRORS]
            if not data:
                waiting.discard(complaints)
        if source in ready:
            data = os.read(source, 1 << 16)
            if not data:
                waiting.discard(source)
            begin = len(rest)
            rest += data
            if b"\n" in data:
                left = SILENCE
                *whole, tail = bytes(rest).split(b"\n") if begin else data.split(b"\n")
                rest = bytearray(tail)
                yield from whole
            if len(rest) > limits.size:
                raise limits.long()
