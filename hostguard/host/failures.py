"""The requests that the gateway could not serve well, by the end of its log: each kind of them once, and how often.

Told are the provider, who may use it, status, flags and Envoy's words for it; no header and no path are in the log.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any, Dict, Iterator, List, Optional, Tuple

from . import logged
from .follow import Follower

Event = Dict[str, Any]
MOST_KINDS = 1024
LONGEST_WORD, MOST_USERS = 200, 64
FAILED = 400
"""The least status that is a failure by itself; below it, one with a flag is: an answer that was cut."""
TEXTS = ("flags", "detail", "refused", "failure", "host")
"""Fields of the log that make a kind, beside provider and status."""


class Failures:
    """`request` has the path of the `log`, and of `listeners`, the configuration that says whether it is written.
    `numbers` are shared with what else is told and counted."""

    def __init__(self, request: Dict[str, str], numbers: Iterator[int]) -> None:
        self.log, self.listeners = request["log"], request["listeners"]
        self.numbers = numbers
        self.follower = Follower(self.log)
        self.kinds: Dict[Tuple[Any, ...], int] = {}
        self.state: Tuple[str, str] = ("", "")
        self.read_at: Any = None
        self.logged: Optional[bool] = None
        """Whether the configuration names the log; None where this host has no gateway."""

    def close(self) -> None:
        self.follower.close()

    def look(self) -> Iterator[Event]:
        """What came since the last look. Nothing at all on a host without a gateway of ours."""
        self._configuration()
        if self.logged is None:
            return
        lines: List[bytes] = []
        state = ("off", "")
        if self.logged:
            lines, state = self._lines()
        if state != self.state:
            self.state = state
            yield {"is": "gateway", "at": time.time(), "state": state[0], "why": state[1], "log": self.log}
        yield from self._told(lines)

    def _configuration(self) -> None:
        try:
            status = os.stat(self.listeners)
            changed = (status.st_ino, status.st_mtime_ns)
            if changed != self.read_at:
                with open(self.listeners, encoding="utf-8", errors="replace", newline="\n") as file:
                    self.logged = json.dumps(self.log) in file.read()
                self.read_at = changed
        except OSError:
            self.logged = self.read_at = None

    def _lines(self) -> Tuple[List[bytes], Tuple[str, str]]:
        try:
            lines = self.follower.look()
        except OSError as error:
            return [], ("unreadable", error.strerror or str(error))
        if not self.follower.why:
            return lines, ("followed", "")
        return lines, ("missing" if self.follower.missing else "unreadable", self.follower.why)

    def _told(self, lines: List[bytes]) -> Iterator[Event]:
        again: Dict[int, int] = {}
        odd = crowd = 0
        for raw in lines:
            line = _line(raw)
            if line is None:
                odd += 1
                continue
            key = _key(line)
            if key is None:
                continue
            number = self.kinds.get(key)
            if number is not None:
                again[number] = again.get(number, 0) + 1
            elif len(self.kinds) >= MOST_KINDS:
                crowd += 1
            else:
                self.kinds[key] = number = next(self.numbers)
                yield _event(number, key, line)
        for number, times in again.items():
            yield {"is": "again", "id": number, "at": time.time(), "attempts": times, "packets": 0}
        for why, times in (("lines", self.follower.take_lost()), ("odd", odd), ("kinds", crowd)):
            if times:
                yield {"is": "lost", "at": time.time(), "packets": times, "why": why}


def _line(raw: bytes) -> Optional[Dict[str, Any]]:
    found = logged.line(raw)
    return found if found and _text(found.get("provider")) and isinstance(found.get("status"), int) else None


def _key(line: Dict[str, Any]) -> Optional[Tuple[Any, ...]]:
    """What makes a kind of failure; None of a request that went well. Envoy's detail is cut where words follow that no
    two requests need share."""
    status, texts = line["status"], {name: _text(line.get(name)) for name in TEXTS}
    if 0 < status < FAILED and texts["flags"] in ("", "-"):
        return None
    texts["detail"] = texts["detail"].partition("{")[0].partition("|")[0]
    return (_text(line["provider"]), _users(line.get("users")), min(max(status, 0), 999), *texts.values())


def _event(number: int, key: Tuple[Any, ...], line: Dict[str, Any]) -> Event:
    provider, users, status, *texts = key
    tries, began = line.get("tries"), logged.moment(line.get("at"))
    return {
        "is": "failed",
        "id": number,
        "at": time.time() if began is None else float(int(began)),
        "provider": provider,
        "users": list(users),
        "status": status,
        **dict(zip(TEXTS, texts)),
        "tries": min(max(tries, 0), 999) if isinstance(tries, int) else 0,
        "retry_after": _text(line.get("retry_after")),
    }


def _text(said: Any) -> str:
    return logged.text(said, LONGEST_WORD)


def _users(said: Any) -> Tuple[str, ...]:
    return tuple(filter(None, map(_text, said[:MOST_USERS]))) if isinstance(said, list) else ()
