"""What `watch` and `learn` share: a host that tells of its packets, until the time is over or somebody says stop."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

import typer

from hostguard.cli.failure import Stop, host_errors
from hostguard.status import Exit

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds(text: str | None, option: str = "--for") -> float | None:
    match = re.fullmatch(r"([1-9][0-9]{0,5})([smhd])", text or "", re.ASCII)
    if text is not None and match is None:
        raise Stop(Exit.CALL, [f"{option}: found {text!r}, expected a time such as 90s, 10m or 8h"])
    return float(match[1]) * SECONDS[match[2]] if match else None


@contextlib.contextmanager
def events(
    duration: float | None,
    host: str | None,
    *,
    sudo: bool,
    evidence: dict[str, Any] | None = None,
    gateway: dict[str, str] | None = None,
) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of this host, or of another one; with the paths of a `gateway` also of the requests that failed there.
    Ctrl-C ends them, and what was gathered is still to be said; a second one ends all."""
    from hostguard.cli import targets
    from hostguard.target import local

    if sudo and not host:
        raise Stop(Exit.CALL, ["--sudo: only with --host"])
    asked = evidence or {}
    request = {"do": "observe", "seconds": duration, "evidence": asked, "gateway": gateway}
    source = targets.named([host], sudo=sudo)[0] if host else local
    with _stop() as stop, host_errors(), contextlib.closing(source.listen(request, stop)) as told, _sense():
        yield map(_Listener(asked), told)


@contextlib.contextmanager
def _sense() -> Iterator[None]:
    """Whatever a host's odd event makes of who reads it is told in words."""
    from hostguard.cli.output import CantWrite
    from hostguard.host.resource import HostError
    from hostguard.seen import in_words_of

    try:
        yield
    except (Stop, typer.Exit, CantWrite, OSError, HostError):
        raise
    except Exception as error:
        raise HostError(f"an event of the host makes no sense: {in_words_of(error)}") from None


MOST = 100_000
"""Destinations; a host keeps some thousands apart, and puts the others together."""


class _Listener:
    """Lets an event through: words that print, of attempts that were told of, and of no more than can be kept."""

    def __init__(self, evidence: dict[str, Any]) -> None:
        self.evidence = evidence
        self.known: set[int] = set()

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        from hostguard import answer
        from hostguard.host.resource import HostError

        if "error" in event:
            raise HostError(event["error"])
        if event["is"] in ("attempt", "failed"):
            self.known.add(event["id"])
        elif event["is"] == "again" and event["id"] not in self.known:
            raise HostError(f"the host counts an attempt {event['id']} that it did not tell of")
        elif event["is"] == "evidence":
            found = {
                name: answer.evidence(request, event["found"].get(name), image=False)
                for name, request in self.evidence.items()
            }
            return {**event, "found": found}
        if len(self.known) > MOST:
            raise HostError(f"the host tells of more than {MOST} destinations")
        return _printable(event)


def _printable(event: dict[str, Any]) -> dict[str, Any]:
    # A message is base64.
    return {key: said if key == "message" else _shown(said) for key, said in event.items()}


def _shown(said: Any) -> Any:
    from hostguard.visible import cut, visible

    if isinstance(said, dict):
        return {key: _shown(each) for key, each in said.items()}
    if isinstance(said, list):
        return [_shown(each) for each in said]
    return visible(cut(said)) if isinstance(said, str) else said


@contextlib.contextmanager
def _stop() -> Iterator[int]:
    """A pipe that can be read from once SIGINT or SIGTERM came."""
    asked, ask = os.pipe()
    before: dict[int, Any] = {}

    def handle(number: int, _frame: FrameType | None) -> None:
        os.write(ask, b".")
        signal.signal(number, before[number])

    for each in (signal.SIGINT, signal.SIGTERM):
        before[each] = signal.signal(each, handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(asked)
        os.close(ask)
