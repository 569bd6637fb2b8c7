"""What the gateway's log tells of the last hours: how often each thing happened, how long it took, and Envoy's words
for it. No line leaves the host as it stands.

Providers have a hand in what is logged (Retry-After, the names of a certificate), so each field is looked at, cut, and
counted with others of its kind.
"""

from __future__ import annotations

import contextlib
import email.utils
import os
import re
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from .. import logged
from ..plain_file import tail
from . import Request

LONGEST_TAIL = 16 << 20
"""Bytes of the log's end that are looked through: some 30,000 lines."""
MOST_KINDS = 400
LONGEST_WORD = 300
BIGGEST = 10**9
TEXTS = ("cluster", "host", "to", "flags", "detail", "failure", "refused", "tls")
PARTS = ("connect", "handshake", "ttfb", "ms")
ENOUGH = 5
"""Good answers from which it is said what is usual."""


class _Kind:
    """Requests that went the same way. Times are in milliseconds."""

    def __init__(self) -> None:
        self.count, self.first, self.last, self.tries = 0, 0.0, 0.0, 0
        self.seconds: Dict[int, int] = {}
        self.waits: List[int] = []
        self.odd_waits = 0
        self.parts: Dict[str, List[int]] = {part: [] for part in PARTS}
        self.ends, self.issuer = 0, ""

    def add(self, at: float, line: Dict[str, Any]) -> None:
        self.count += 1
        self.first, self.last = min(self.first or at, at), max(self.last, at)
        self.seconds[int(at)] = self.seconds.get(int(at), 0) + 1
        self.tries = max(self.tries, _number(line.get("tries")) or 0)
        _add_parts(self.parts, line)
        wait = line.get("retry_after")
        if wait is not None:
            self._wait(at, wait)
        ends = logged.moment(line.get("cert_ends"))
        if ends is not None:
            self.ends, self.issuer = int(ends), _text(line.get("cert_issuer"))

    def _wait(self, at: float, said: Any) -> None:
        seconds = _wait(at, said)
        if seconds is None:
            self.odd_waits += 1
        else:
            self.waits.append(seconds)

    def told(self) -> Dict[str, Any]:
        return {
            "count": self.count,
            "first": self.first,
            "last": self.last,
            "busiest": max(self.seconds.values()),
            "tries": self.tries,
            "retry_after": [min(self.waits), max(self.waits)] if self.waits else None,
            "odd_retry_after": self.odd_waits,
            "parts": {part: [_middle(took), max(took)] for part, took in self.parts.items() if took},
            "cert_ends": self.ends,
            "cert_issuer": self.issuer,
        }


def gateway_log(request: Request) -> Any:
    """Of the log at `path`: `kinds` of requests of the last `since` seconds, by `slow` {provider: milliseconds from
    which an answer is slow}; the `usual` times of good answers before that; from when on the log was read (`start`,
    seconds since 1970; 0 where it has no line); requests beyond MOST_KINDS (`more`), and lines that are none (`odd`).
    """
    began = time.time() - request["since"]
    kinds: Dict[Tuple[Any, ...], _Kind] = {}
    usual: Dict[str, Dict[str, List[int]]] = {}
    start, more, odd = 0.0, 0, 0
    for raw in _tail(request["path"]):
        line = logged.line(raw)
        at = logged.moment(line.get("at")) if line else None
        if line is None or at is None or _text(line.get("provider")) not in request["slow"]:
            odd += 1
            continue
        start = start or at
        key = _key(line, request["slow"])
        if at < began:
            if _good(key):
                _add_parts(usual.setdefault(line["provider"], {part: [] for part in PARTS}), line)
        elif key in kinds or len(kinds) < MOST_KINDS:
            kinds.setdefault(key, _Kind()).add(at, line)
        else:
            more += 1
    return {
        "there": any(map(os.path.exists, _names(request["path"]))),
        "start": start,
        "kinds": [dict(zip(NAMES, key), **kind.told()) for key, kind in kinds.items()],
        "usual": {
            provider: {part: _middle(took) for part, took in parts.items() if took}
            for provider, parts in usual.items()
            if len(parts["ms"]) >= ENOUGH
        },
        "more": more,
        "odd": odd,
    }


NAMES = ("provider", "status", "slow", *TEXTS)


def _key(line: Dict[str, Any], slow: Dict[str, int]) -> Tuple[Any, ...]:
    texts = {name: _text(line.get(name)) for name in TEXTS}
    texts["detail"] = texts["detail"].partition("|")[0]  # behind it stands the failure again
    took, status = _number(line.get("ms")) or 0, _number(line.get("status")) or 0
    return (line["provider"], status, took >= slow[line["provider"]], *(texts[name] for name in TEXTS))


def _good(key: Tuple[Any, ...]) -> bool:
    found = dict(zip(NAMES, key))
    return 200 <= found["status"] < 300 and found["flags"] in ("", "-")


def _names(path: str) -> Tuple[str, str]:
    """A log, and the one that was rotated away last. For a moment after that there is only the latter."""
    return path, path + ".1"


def _tail(path: str) -> Iterator[bytes]:
    """Lines of the end of a log, and of the one that was rotated away last, if there is room for it."""
    room = LONGEST_TAIL
    parts = []
    for name in _names(path):
        with contextlib.suppress(FileNotFoundError):
            parts.append(tail(name, room))
            room -= sum(len(line) + 1 for line in parts[-1])
        if room <= 0:
            break
    for lines in reversed(parts):
        yield from lines


def _text(said: Any) -> str:
    return logged.text(said, LONGEST_WORD)


def _number(said: Any) -> Optional[int]:
    return int(said) if type(said) in (int, float) and 0 <= said <= BIGGEST else None


def _wait(at: float, said: Any) -> Optional[int]:
    """Seconds of a Retry-After, which is a number or a date (RFC 9110, 10.2.3); None for what is neither."""
    text = _text(said).strip()
    if re.fullmatch("[0-9]{1,9}", text):
        return int(text)
    try:
        return max(0, int(email.utils.parsedate_to_datetime(text).timestamp() - at))
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _add_parts(parts: Dict[str, List[int]], line: Dict[str, Any]) -> None:
    for part in PARTS:
        took = _number(line.get(part))
        if took is not None:
            parts[part].append(took)


def _middle(numbers: List[int]) -> int:
    return sorted(numbers)[len(numbers) // 2]
