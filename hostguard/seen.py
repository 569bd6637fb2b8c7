"""A host's answer, read as an answer to what it was asked (pure).

What counts is what was asked, and not what the host says that it was: whatever has no answer, or one that makes no
sense, is unreadable, and what nobody asked is nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hostguard import answer as answers
from hostguard.host.kinds import KINDS
from hostguard.host.resource import (
    MISSING,
    PLACEHOLDER,
    VALUE,
    Difference,
    Observation,
    Resource,
    placeholders,
    unreadable,
)
from hostguard.host.snapshot import differ
from hostguard.visible import one_line


@dataclass(frozen=True)
class Seen:
    """The resources with their facts filled in, and what was seen of each."""

    resources: tuple[Resource, ...]
    observations: Mapping[str, Observation]
    evidence: Mapping[str, Mapping[str, Any]]
    leftovers: tuple[Resource, ...] = ()
    """What an earlier policy wanted and this one does not: an apply gives it back."""
    _found: dict[str, list[Difference]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, asked: Mapping[str, Any], answer: Mapping[str, Any], *, image: bool = False) -> Seen:
        """An answer (`answers.checked` took it) to a bundle, or to no more of it than `resources` and `evidence`."""
        said: dict[str, Any] = {}
        for resource in answer["resources"]:
            if isinstance(resource, dict) and isinstance(resource.get("id"), str):
                said.setdefault(resource["id"], resource)
        facts: dict[str, str] = {}
        resources, observations, found = [], {}, {}
        for resource in asked["resources"]:
            identity = resource["id"]
            resolved, differences = resource, list[Difference]()
            try:
                resolved, seen = _read(resource, said.get(identity), answer["observations"].get(identity), facts, image)
                differences = _tried(resolved, seen)
            except Exception as error:  # whatever a host's odd value makes of it: it was not seen
                seen = unreadable(f"{identity}: the host's answer can't be read: {in_words_of(error)}")
            resources.append(resolved)
            observations[identity], found[identity] = seen, differences
        evidence = {
            name: answers.evidence(request, answer["evidence"].get(name), image=image)
            for name, request in asked["evidence"].items()
        }
        return cls(tuple(resources), observations, evidence, tuple(answer["leftovers"] or ()), found)

    def differ(self, resource: Resource) -> list[Difference]:
        found = self._found.get(resource["id"])
        return differ(resource, self.observations[resource["id"]]) if found is None else found

    def missing(self) -> list[str]:
        """What the policy names and the host has not."""
        reasons = [seen.reason for seen in self.observations.values() if seen.state == MISSING]
        return list(dict.fromkeys(reasons))

    def differences(self) -> list[tuple[Resource, list[Difference]]]:
        """Every resource that is not as wanted, in order, and what is to be given back."""
        pairs = [(r, self.differ(r)) for r in self.resources]
        back = [(r, [Difference("given back", "no longer in the policy", "")]) for r in self.leftovers]
        return [(resource, found) for resource, found in pairs if found] + back


def _read(
    asked: Resource, said: Any, observation: Any, facts: dict[str, str], image: bool
) -> tuple[Resource, Observation]:
    """A resource as the host filled it in, and what it saw; as it was asked where the host made another one of it."""
    if said is None:
        return asked, unreadable(f"{asked['id']}: the host did not answer")
    blocked = said.get("blocked")
    if blocked is not None and "blocked" not in asked:
        right = isinstance(blocked, str) and blocked.strip() and placeholders(asked)
        if right and {**asked, "blocked": blocked} == said:
            return said, unreadable(blocked)
    elif said is asked or filled_in(asked, said, facts):  # of what was applied only the host knows
        return said, answers.observed(said, observation, image=image)
    return asked, unreadable(f"{asked['id']}: the host answered of another resource than it was asked of")


# What a placeholder may stand for, by the first word of its name.
FACTS = {"uid": "[0-9]{1,10}", "gid": "[0-9]{1,10}", "program": "/[!-~]{1,255}", "noswap": "(?:,noswap)?"}


def filled_in(asked: Any, said: Any, facts: dict[str, str]) -> bool:
    """Whether something is what was asked with its placeholders filled in, each by the same word wherever it stands;
    what they were filled in with is added to `facts`."""
    if isinstance(asked, str):
        if "${" not in asked or not PLACEHOLDER.search(asked):
            return isinstance(said, str) and asked == said
        return isinstance(said, str) and _filled_in_text(asked, said, facts)
    if isinstance(asked, (list, tuple)):
        if not isinstance(said, (list, tuple)) or len(asked) != len(said):
            return False
        if asked == said and all(type(each) is str and "${" not in each for each in asked):
            return True  # an allowlist may have 100,000 entries
        return all(filled_in(*pair, facts) for pair in zip(asked, said, strict=True))
    if isinstance(asked, dict):
        if not isinstance(said, dict) or asked.keys() != said.keys():
            return False
        return all(filled_in(node, said[key], facts) for key, node in asked.items())
    return type(asked) is type(said) and bool(asked == said)


def _filled_in_text(asked: str, said: str, facts: dict[str, str]) -> bool:
    pattern, at, groups = "", 0, dict[str, str]()
    for match in PLACEHOLDER.finditer(asked):
        name = match[1]
        pattern += re.escape(asked[at : match.start()])
        if name in facts:
            pattern += re.escape(facts[name])
        elif name in groups:
            pattern += f"(?P={groups[name]})"
        else:
            groups[name] = f"fact{len(groups)}"
            pattern += f"(?P<{groups[name]}>{FACTS.get(name.partition(':')[0], '(?!)')})"
        at = match.end()
    found = re.fullmatch(pattern + re.escape(asked[at:]), said)
    if found:
        facts.update({name: found[group] for name, group in groups.items()})
    return bool(found)


def _tried(resource: Resource, seen: Observation) -> list[Difference]:
    """The differences, once all that is ever said of a resource could be said."""
    found = differ(resource, seen)
    if not all(isinstance(each, str) for difference in found for each in difference):
        raise TypeError("a difference that is no text")
    kind = KINDS[resource["kind"]]
    kind.wanted(resource)
    if seen.state == VALUE:
        kind.seen_as(resource, seen)
    return found


def in_words_of(error: BaseException) -> str:
    """An error of Python's, for who reads a report."""
    said = one_line(error)[:200]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def where(resource: Resource) -> str:
    """Where on a host a resource is, in a few words."""
    try:
        return KINDS[resource["kind"]].place(resource)
    except (KeyError, TypeError):  # what a host says that it was applied with may be anything
        return str(resource["id"])
