"""Ask every host a question at the same time, and tell what each answers as it comes."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from hostguard.ansible.inventory import Inventory, InventoryError, InventoryHost, Unreachable
from hostguard.fleet.engine import EngineError, Event, Target
from hostguard.host.resource import HostError
from hostguard.target.bounded import Limits

Request = Mapping[str, Any]
GRACE = 30.0
"""Seconds past its time after which a host is given up whose connection did not end by itself."""


def ask(
    target: Target, request: Callable[[Mapping[str, Any]], Request], hosts: Sequence[str] | None = None
) -> Iterator[Event]:
    """The events of `engine.play`; an `ok` has `answer`, and `policy`, which is what the inventory says of the host.

    `request` makes the question from the latter, and may raise ValueError: then that host has failed. Raises
    EngineError where the inventory can't be used.
    """
    try:
        inventory = Inventory(target.inventory, target.limit)
    except InventoryError as error:
        raise EngineError(str(error)) from None
    names = inventory.names if hosts is None else hosts
    yield Event("", "hosts", {"hosts": list(names)})
    waiting = iter(names)
    running: dict[str, float] = {}
    answers: queue.SimpleQueue[Event] = queue.SimpleQueue()
    while True:
        # One at a time: the first is on its way while the next is made ready.
        name = next(waiting, None) if len(running) < target.forks else None
        if name is not None:
            yield Event(name, "started", {})
            try:
                host = inventory.host(name)
                asked = (host, request(host.policy), target.limits, answers)
                # Daemons: a plugin that never comes back must not keep this process.
                threading.Thread(target=_ask, args=asked, daemon=True).start()
                running[name] = time.monotonic() + target.limits.seconds + GRACE
            except (InventoryError, ValueError) as error:
                yield Event(name, "failed", {"msg": str(error)})
        elif not running:
            return
        left = 0.0 if name is not None else max(0.0, min(running.values()) - time.monotonic())
        yield from _come(answers, running, left)
        for late in [name for name, end in running.items() if end <= time.monotonic()]:
            del running[late]
            yield Event(late, "unreachable", {"msg": str(target.limits.late())})


def _come(answers: queue.SimpleQueue[Event], running: dict[str, float], left: float) -> Iterator[Event]:
    """Those that are there, once there is one or the time is over."""
    while True:
        try:
            event = answers.get(timeout=left) if left else answers.get_nowait()
        except queue.Empty:
            return
        left = 0.0
        if running.pop(event.host, None) is not None:  # else it was given up
            yield event


def _ask(host: InventoryHost, request: Request, limits: Limits, answers: queue.SimpleQueue[Event]) -> None:
    answers.put(_asked(host, request, limits))


def _asked(host: InventoryHost, request: Request, limits: Limits) -> Event:
    try:
        answer = host.ask(request, limits)
    except Unreachable as error:
        return Event(host.name, "unreachable", {"msg": str(error)})
    except HostError as error:
        return Event(host.name, "failed", {"msg": str(error)})
    except BaseException as error:  # whatever one host is, the others are told of
        return Event(host.name, "failed", {"msg": f"it could not be asked: {type(error).__name__}: {error}"})
    return Event(host.name, "ok", {"answer": answer, "policy": host.policy})
