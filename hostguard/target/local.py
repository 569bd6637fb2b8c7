"""This machine: the host program runs inside this process."""

from __future__ import annotations

import socket
from collections.abc import Generator
from typing import Any

from hostguard import answer as answers
from hostguard.host import program_main, transaction
from hostguard.host.resource import HostError
from hostguard.host.undisturbed import Progress
from hostguard.target import legacy_tables


def name() -> str:
    return socket.gethostname()


def ask(request: dict[str, Any]) -> dict[str, Any]:
    """One request to the host program, one answer. Raises HostError where it can't be answered."""
    return answers.checked(request["do"], program_main.answer(request))


def listen(request: dict[str, Any], stop: int) -> Generator[dict[str, Any]]:
    """What this host tells, until `stop` can be read from."""
    from hostguard.host import observe

    for event in observe.observe(request, stop):
        yield answers.checked("observe", event)


def read(bundle: dict[str, Any]) -> dict[str, Any]:
    """The host as it is. What only an installed library can read of legacy tables is added to it."""
    snapshot = ask({"do": "read", "bundle": bundle})
    for name, answer in snapshot["evidence"].items():
        if bundle["evidence"][name]["collect"] == "other-backend":
            legacy_tables.complete(answer)
    return snapshot


def apply(bundle: dict[str, Any], options: dict[str, Any], progress: Progress) -> dict[str, Any]:
    return transaction.apply(bundle, options, progress)


def rollback(to: int | None, options: dict[str, Any], progress: Progress) -> dict[str, Any]:
    return transaction.rollback(to, options, progress)


__all__ = ["HostError", "apply", "ask", "listen", "name", "read", "rollback"]
