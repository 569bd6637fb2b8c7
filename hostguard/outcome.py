"""What became of an apply or a rollback, by the host's answer: the same state of the host for a terminal and for a task
(pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hostguard.host import store

AS_BEFORE = "this host is as it was before"


def left(answer: Mapping[str, Any]) -> str:
    """The state in which a failed transaction has left its host."""
    if answer.get("trouble"):
        return "this host goes on trying"
    restarted: Sequence[str] = answer.get("restarted") or ()
    return AS_BEFORE + (f", except that it has restarted {', '.join(restarted)}" if restarted else "")


def failure(answer: Mapping[str, Any]) -> list[str]:
    """A failed transaction, a line for each thing to know, for who sits at that host."""
    trouble: Sequence[str] = answer["trouble"]
    more = ": see `hostguard history`" if trouble else ""
    return [
        f"generation {answer['generation']} failed: {answer['error']}",
        *(f"the way back failed too: {each}" for each in trouble),
        left(answer) + more,
    ]


def words(answer: Mapping[str, Any]) -> str:
    """Why an apply did not become what was wanted, and in which state the host is: one line, for who sits elsewhere."""
    error, outcome = answer.get("error", ""), str(answer["outcome"])
    if outcome == "blocked":
        return f"in the way: {'; '.join(answer.get('obstacles', []))}; nothing was touched"
    if outcome == "refused":
        return f"{error}; nothing was touched"
    if outcome == "failed":
        trouble = "; ".join(answer.get("trouble") or ())
        return f"failed: {error}; " + (f"the way back failed too: {trouble}; " if trouble else "") + left(answer)
    if outcome == store.ROLLED_BACK:
        return f"rolled back by the host, which is as it was before: {error}"
    if outcome == "lost":
        return f"{error}; the host goes back by itself, but did not answer since: look at it"
    if outcome == "no answer":
        back = ": unless it was not begun, the host goes back by itself" if answer.get("watched") else ""
        return f"{error}; it was asked to change, and the outcome is not known{back}: look at it (hostguard history)"
    return f"generation {answer.get('generation')} is {outcome}: {error}"
