"""A program that speaks for a host: how long it may take, and how much it may say, whatever the host does.

It is read while it speaks, and ended at the limit: what a host sends after that never comes into this process's memory.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import selectors
import signal
import subprocess
import threading
import time
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hostguard.host.resource import HostError

SECONDS = {"s": 1, "m": 60, "h": 3600}
BYTES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
CHUNK = 1 << 20
LAST = 5.0
"""Seconds for a program that was ended to be gone."""
LINGER = 0.5
"""Seconds for the last complaints of a program that has ended."""
MOST_ERRORS = 1 << 20
"""Bytes of standard error: words, and no answer."""


class TooMuch(HostError):
    """A host that took too long, or said too much; the text says which. What became of the request is not known."""


@dataclass(frozen=True)
class Limits:
    """Of one answer of one host."""

    seconds: float = 300.0
    size: int = 64 << 20

    @classmethod
    def of(cls, within: str | None, size: str | None) -> Limits:
        """From a time such as 90s, and a size such as 64M; None for what it is by itself. Raises ValueError."""
        time_, size_ = (re.fullmatch(r"([1-9][0-9]{0,5})([smh])", within or "300s", re.ASCII),
                        re.fullmatch(r"([1-9][0-9]{0,8})([KMG])", size or "64M", re.ASCII))  # fmt: skip
        if not time_:
            raise ValueError(f"answer_within: found {within!r}, expected a time such as 90s, 5m or 1h")
        if not size_:
            raise ValueError(f"answer_size: found {size!r}, expected a size such as 512K, 64M or 1G")
        return cls(float(time_[1]) * SECONDS[time_[2]], int(size_[1]) * BYTES[size_[2]])

    def until(self, end: float) -> Limits:
        """Of an answer that is of no use after a moment (of time.monotonic)."""
        return replace(self, seconds=min(self.seconds, max(1.0, end - time.monotonic())))

    def late(self) -> TooMuch:
        return TooMuch(f"no answer within {self.seconds:.3g} s (--answer-within)")

    def long(self) -> TooMuch:
        return TooMuch(f"an answer of more than {self.size} bytes (--answer-size)")


TOO_MANY_WORDS = f"complaints of more than {MOST_ERRORS} bytes"


USUAL = Limits()


def run(argv: Sequence[str], text: bytes, limits: Limits) -> tuple[int, bytes, bytes]:
    """Run a program to its end: its exit code, what it said, and the end of what it complained of. Raises TooMuch."""
    pipe = subprocess.PIPE
    # A session of its own, so that what the program started ends with it.
    with within(limits), Process(argv, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True) as process:
        said, errors = process.communicate(text)
        return process.returncode, said, errors


class Bound:
    """The limits of one question, and when its time is over."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self.end = limits, time.monotonic() + limits.seconds

    def left(self) -> float:
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.limits.late()
        return left


_current = threading.local()


@contextlib.contextmanager
def within(limits: Limits) -> Iterator[Bound]:
    """Until it ends, the processes that this thread starts have these limits, and their time together."""
    before = getattr(_current, "bound", None)
    _current.bound = Bound(limits)
    try:
        yield _current.bound
    finally:
        _current.bound = before


def bind(module: types.ModuleType) -> None:
    """Have a module of somebody else's start processes with our limits, where there are any: its own reading keeps
    whatever comes, and waits for ever."""
    if getattr(module, "subprocess", None) is subprocess:
        ours = types.ModuleType("subprocess")
        ours.__dict__.update({**vars(subprocess), "Popen": Process})
        module.subprocess = ours  # type: ignore[attr-defined]  # one that imported it


class Process(subprocess.Popen[bytes]):
    """Within limits (see `within`): whoever reads, waits or asks whether it has ended is told once they are passed, and
    it is killed. Elsewhere it is like any other."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._bound: Bound | None = getattr(_current, "bound", None)
        self._timer: threading.Timer | None = None
        self._leads = bool(options.get("start_new_session"))
        super().__init__(*arguments, **options)
        if self._bound is None:
            return
        # A write to a host that does not read waits in the kernel: only the end of the program ends it.
        self._timer = threading.Timer(max(0.0, self._bound.end - time.monotonic()), self.stop)
        self._timer.daemon = True
        self._timer.start()
        if self.stdout is not None:
            limits = self._bound.limits
            # Ansible copies all that it has with each piece that comes: sixteen times fewer of them.
            with contextlib.suppress(OSError):
                fcntl.fcntl(self.stdout.fileno(), fcntl.F_SETPIPE_SZ, CHUNK)
            # It has what Ansible and subprocess call of a file, and no more.
            self.stdout = _Pipe(self.stdout, self, limits.size, limits.long())  # type: ignore[assignment]
        if self.stderr is not None:
            self.stderr = _Pipe(self.stderr, self, MOST_ERRORS, TooMuch(TOO_MANY_WORDS))  # type: ignore[assignment]

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            if self._leads:
                os.killpg(self.pid, signal.SIGKILL)
            elif super().poll() is None:
                os.kill(self.pid, signal.SIGKILL)

    def left(self) -> float | None:
        """Seconds. Raises TooMuch where there is none; then it is killed."""
        try:
            return None if self._bound is None else self._bound.left()
        except TooMuch:
            self.stop()
            raise

    def poll(self) -> int | None:
        code = super().poll()
        if code is None:
            self.left()
        else:
            self._ended()
        return code

    def _ended(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def wait(self, timeout: float | None = None) -> int:
        least = [each for each in (timeout, self.left()) if each is not None]
        try:
            code = super().wait(min(least) if least else None)
        except subprocess.TimeoutExpired:
            self.left()
            raise
        self._ended()
        return code

    def communicate(self, input: bytes | None = None, timeout: float | None = None) -> tuple[bytes, bytes]:
        if self._bound is None:
            return super().communicate(input, timeout)
        feeder = threading.Thread(target=self._feed, args=(input,), daemon=True)
        feeder.start()
        said: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        with selectors.DefaultSelector() as selector:
            for name in said:
                if getattr(self, name) is not None:
                    selector.register(getattr(self, name), selectors.EVENT_READ, name)
            while selector.get_map():
                # An ssh that others share goes on in the background, and keeps standard error open.
                said_all = self.stdout is None or self.stdout not in (k.fileobj for k in selector.get_map().values())
                left = self.left() or 0.0
                ready = selector.select(min(left, LINGER) if said_all else left)
                if said_all and not ready and super().poll() is not None:
                    break
                for key, _ in ready:
                    data = key.fileobj.read1()  # type: ignore[union-attr]  # a _Pipe
                    said[key.data] += data
                    if not data:
                        selector.unregister(key.fileobj)
        self.wait()
        self.left()
        return bytes(said["stdout"]), bytes(said["stderr"])

    def _feed(self, text: bytes | None) -> None:
        if self.stdin is not None:
            with contextlib.suppress(OSError, ValueError):  # it ended, and its last words say why
                self.stdin.write(text or b"")
                self.stdin.flush()
            with contextlib.suppress(OSError, ValueError):
                self.stdin.close()

    def __exit__(self, *error: Any) -> None:
        if self._bound is None:
            super().__exit__(*error)
        else:
            self.end()

    def end(self) -> None:
        """Nothing of it stays: no process of ours, no pipe, no thread."""
        self._ended()
        if self.returncode is None or self._leads:
            self.stop()
        for pipe in (self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            super().wait(LAST)


class _Pipe:
    """One end of a pipe, with as many bytes left as it may bring, and what is to be said of more."""

    def __init__(self, file: Any, process: Process, most: int, error: TooMuch) -> None:
        self._file, self._process, self._left, self._error = file, process, most, error

    def fileno(self) -> int:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    @property
    def closed(self) -> bool:
        return bool(self._file.closed)

    def read1(self, size: int = CHUNK) -> bytes:
        """What is there, and no more than a chunk of it; raises TooMuch past the limit."""
        self._process.left()
        data: bytes = self._file.read1(min(size, CHUNK)) or b""
        self._left -= len(data)
        if self._left < 0:
            self._process.stop()
            raise self._error
        return data

    read = read1
