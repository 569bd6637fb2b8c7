"""Ask every host a question at the same time, and tell what each answers as it comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from hostguard.ansible.inventory import Host, Inventory, InventoryError, Unreachable
from hostguard.fleet.engine import EngineError, Event, Target
from hostguard.host.resource import HostError

Request = Mapping[str, Any]


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
    running: set[Future[Event]] = set()
    with ThreadPoolExecutor(target.forks) as pool:
        while True:
            # One at a time: whoever comes first is on his way while the next is made ready.
            name = next(waiting, None) if len(running) < target.forks else None
            if name is not None:
                yield Event(name, "started", {})
                try:
                    host = inventory.host(name)
                    running.add(pool.submit(_asked, host, request(host.policy)))
                except (InventoryError, ValueError) as error:
                    yield Event(name, "failed", {"msg": str(error)})
            elif not running:
                return
            done, running = wait(running, timeout=0 if name is not None else None, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def _asked(host: Host, request: Request) -> Event:
    try:
        answer = host.ask(request)
    except Unreachable as error:
        return Event(host.name, "unreachable", {"msg": str(error)})
    except HostError as error:
        return Event(host.name, "failed", {"msg": str(error)})
    return Event(host.name, "ok", {"answer": answer, "policy": host.policy})
