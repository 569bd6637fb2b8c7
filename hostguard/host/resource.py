"""The words that host and controller share: what is wanted, what was seen, and how they differ."""

from __future__ import annotations

import re
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Tuple, TypeVar

Member = TypeVar("Member")

Resource = Dict[str, Any]
"""One thing wanted of a host, as plain JSON: `id` (unique in a bundle), `kind`, `control`, and the kind's own keys."""

Facts = Dict[str, str]
"""What the placeholders in a bundle stand for on one host, e.g. {"uid:envoy": "101"}."""

VALUE, ABSENT, UNREADABLE, NOT_APPLICABLE = "value", "absent", "unreadable", "not_applicable"
NOT_RUNNING = "not_running"
"""Of an image: only the host that runs it could tell."""
MISSING = "missing"
"""The policy names what this host has not, and no apply can make it: somebody else's unit that is not installed."""


class Observation(NamedTuple):
    """What was seen of one resource. `reason` says why there is no value."""

    state: str
    value: Any = None
    reason: str = ""


class Difference(NamedTuple):
    """One field of a resource that is not as wanted.

    `blocked` says why apply can't mend it, and what to do instead; `restart` names the unit whose running
    process keeps the old value until it is restarted.
    """

    field: str
    have: str
    want: str
    blocked: str = ""
    restart: str = ""


class HostError(Exception):
    """Something on the host stands in the way. The text says what, where, and what to do."""


class NotRoot(HostError):
    """Only root may do it. The text says what; how to become root, who asked knows."""


class TooLate(HostError):
    """Nothing waits to be confirmed any more: the time is over, whoever asks."""


def each(members: Iterable[Member], act: Callable[[Member], None]) -> None:
    """Act on every member, whatever became of the one before: one that can't go back must not keep the others.

    Raises HostError at the end, with all that went wrong.
    """
    trouble = []
    for member in members:
        try:
            act(member)
        except (HostError, OSError) as error:
            trouble.append(str(error))
    if trouble:
        raise HostError("; ".join(trouble))


def why(error: Exception, of: str) -> str:
    """Why `of` could not be read, for a person. What is neither ours nor the system's is text that no parser of ours
    expected."""
    if isinstance(error, HostError):
        return legible(str(error))
    if isinstance(error, OSError):  # one from read(2) names no file
        return legible("{}: {}".format(error.filename or of, error.strerror or error))
    return legible("{}: what this host says can't be made out ({}: {})".format(of, type(error).__name__, error))


def legible(text: str) -> str:
    """Text for a person, of what a program said byte by byte (see program.run): escapes for what is not UTF-8, and for
    what no byte stands for, as only another host's answer can hold."""
    return SURROGATE.sub(_escape, text)


SURROGATE = re.compile("[\ud800-\udfff]")


def _escape(found: "re.Match[str]") -> str:
    number = ord(found.group())
    return "\\x{:02x}".format(number - 0xDC00) if 0xDC80 <= number <= 0xDCFF else "\\u{:04x}".format(number)


def value(seen: Any) -> Observation:
    return Observation(VALUE, seen)


ABSENT_HERE = Observation(ABSENT)


def unreadable(reason: str) -> Observation:
    return Observation(UNREADABLE, None, legible(reason))


def not_applicable(reason: str) -> Observation:
    return Observation(NOT_APPLICABLE, None, reason)


def missing(reason: str) -> Observation:
    return Observation(MISSING, None, reason)


PLACEHOLDER = re.compile(r"\$\{([a-z]+(?::[A-Za-z0-9_.-]+)?)\}")


def placeholders(node: Any) -> List[str]:
    """Names of the placeholders in a resource, in order of appearance, each once."""
    found: Dict[str, None] = {}
    _walk(node, lambda text: [found.setdefault(name) for name in PLACEHOLDER.findall(text)] and text)
    return list(found)


def resolve(resource: Resource, facts: Facts) -> Resource:
    """The resource with its placeholders filled in. One that has no fact makes the resource `blocked`."""
    missing = [name for name in placeholders(resource) if name not in facts]
    if missing:
        return dict(resource, blocked=_missing(missing))
    resolved: Resource = _walk(resource, lambda text: PLACEHOLDER.sub(lambda m: facts[m.group(1)], text))
    return resolved


PACKAGES = {"dnsmasq": "dnsmasq-base"}
"""Debian's packages, where the program has another name."""


def _missing(names: List[str]) -> str:
    said = []
    for name in names:
        what, _, who = name.partition(":")
        if what == "program":
            package = PACKAGES.get(who, who)
            said.append("{} is not installed on this host: install it (Debian: {})".format(who, package))
            continue
        noun = {"uid": "account", "gid": "group"}.get(what, what)
        said.append("the {} {} does not exist on this host: create it, or mend the policy".format(noun, who))
    return "; ".join(said)


def _walk(node: Any, change: Any) -> Any:
    if isinstance(node, str):
        return change(node) if "${" in node else node
    if isinstance(node, list):
        return [_walk(item, change) for item in node]
    if isinstance(node, dict):
        return {key: _walk(item, change) for key, item in node.items()}
    return node


def not_running() -> Observation:
    return Observation(NOT_RUNNING, None, "an image does not tell it: needs a host that runs")


def partition(resources: List[Resource]) -> Tuple[List[Resource], List[Resource]]:
    """The resources that can be acted on, and those that are blocked."""
    able = [r for r in resources if not r.get("blocked")]
    return able, [r for r in resources if r.get("blocked")]
