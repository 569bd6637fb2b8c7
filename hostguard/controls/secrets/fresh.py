"""What the agent does now, by times: whether it still fetches, and whether a rotation ended.

It writes a note for each secret at each poll (agent.py). No file of a secret is opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from hostguard.control import Context, Verdict, verdict
from hostguard.controls.secrets.agent import TWO_KEYS, note
from hostguard.policy import keys
from hostguard.policy.keys import Agent

POLLS, LATE = 3, 10
"""Polls that may fail before it is told, and seconds that tries and their waits may take."""
FETCHED = "every secret was fetched within the last {} s"
ENDED = "no old key is kept for longer than the providers take it"
NO_AGENT = "the policy has no secrets.agent"


def ask_fresh(context: Context) -> Mapping[str, Any]:
    agent = keys.derive(context.policy)
    if agent is None:
        return {}
    return {"notes": {"collect": "secret-files", "paths": [note(agent, secret) for secret in agent.secrets]}}


def judge_fresh(context: Context, said: Mapping[str, Any]) -> Verdict:
    agent = keys.derive(context.policy)
    if agent is None:
        return Verdict("not_applicable", FETCHED.format("…"), NO_AGENT)
    longest = int(POLLS * agent.poll) + LATE
    return verdict(FETCHED.format(longest), list(_stale(agent, said["notes"], longest)), f"{len(agent.secrets)} are")


def _stale(agent: Agent, notes: Mapping[str, Any], longest: int) -> Iterator[str]:
    for secret in agent.secrets:
        seen = notes[note(agent, secret)]
        if seen is None:
            yield f"{secret.place.name} was never fetched since this tmpfs was mounted"
        elif seen["age"] > longest:
            yield f"{secret.place.name} was last fetched {seen['age']} s ago, and keeps that value"


def ask_rotation(context: Context) -> Mapping[str, Any]:
    agent = _with_overlap(context)
    if agent is None:
        return {}
    files = [path for secret in agent.secrets if secret.old for path in secret.place.files]
    return {
        "files": {"collect": "secret-files", "paths": files},
        "notes": {"collect": "notes", "paths": [note(agent, secret) for secret in agent.secrets]},
    }


def judge_rotation(context: Context, said: Mapping[str, Any]) -> Verdict:
    agent = _with_overlap(context)
    if agent is None or agent.overlap is None:
        return Verdict("not_applicable", ENDED, "the policy says no secrets.agent.overlap")
    return verdict(ENDED, list(_overdue(agent, agent.overlap, said)), "no rotation is overdue")


def _overdue(agent: Agent, overlap: float, said: Mapping[str, Any]) -> Iterator[str]:
    """A rotation began when one of its two files got another content, or later: a boot writes both anew."""
    for secret in agent.secrets:
        two = said["notes"].get(note(agent, secret), "").startswith(TWO_KEYS)
        seen = [said["files"][path] for path in secret.place.files if path in said["files"]]
        if two and seen and None not in seen:
            since = min(each["age"] for each in seen)
            if since > overlap:
                yield f"{secret.place.name} has had two keys for {_span(since)}, and its overlap is {_span(overlap)}"


def _with_overlap(context: Context) -> Agent | None:
    agent = keys.derive(context.policy)
    return agent if agent and agent.overlap is not None else None


def _span(seconds: float) -> str:
    for unit, of in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= of:
            return f"{seconds / of:.3g} {unit}"
    return f"{seconds:.3g} s"
