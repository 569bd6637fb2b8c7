"""Rules × policy → what a host is asked, and a host's answer × rules → what is wrong with it (pure)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hostguard.bundle import Compiled, context_of
from hostguard.control import Request
from hostguard.diagnose.rule import Asked, Fact, Finding, Rule, Unread
from hostguard.diagnose.rules import RULES
from hostguard.policy.load import LoadedPolicy
from hostguard.seen import Seen, in_words_of
from hostguard.status import Exit

NAME = "diagnose"


@dataclass(frozen=True)
class HostDiagnosis:
    """What was made of one host: findings, what could not be read, what was looked at, and what was left out and why,
    each by the rule's ID. `error`: why nothing was seen of it at all."""

    host: str
    findings: tuple[tuple[str, Finding], ...] = ()
    unread: tuple[tuple[str, str], ...] = ()
    looked: tuple[tuple[str, str], ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    error: str = ""
    loaded: LoadedPolicy | None = None
    """Its own policy: with an inventory each host may have another."""


@dataclass(frozen=True)
class Diagnosis:
    """All hosts. `generated` is RFC 3339 in UTC."""

    generated: str
    asked: Asked
    hosts: tuple[HostDiagnosis, ...]

    def exit(self) -> Exit:
        if any(host.findings for host in self.hosts):
            return Exit.FAILED
        return Exit.UNSEEN if any(host.unread or host.error for host in self.hosts) else Exit.WELL


def compiler(asked: Asked, rules: Iterable[Rule] = RULES) -> Callable[[LoadedPolicy], Compiled]:
    """What makes a bundle of a policy: no resource, and each question once, whichever rules ask it."""
    chosen = tuple(rules)

    def compiled(loaded: LoadedPolicy) -> Compiled:
        of = replace(asked, loaded=loaded)
        said = {_name(request): request for rule in chosen for request in _requests(rule, of).values()}
        return Compiled(loaded, context_of(loaded), (), {NAME: said}, ())

    return compiled


def judge(
    asked: Asked, host: str, loaded: LoadedPolicy, seen: Seen | str, rules: Iterable[Rule] = RULES
) -> HostDiagnosis:
    """What every rule makes of what was seen of a host under its policy."""
    if isinstance(seen, str):
        return HostDiagnosis(host, error=seen or "it did not answer", loaded=loaded)
    of = replace(asked, loaded=loaded)
    rules = tuple(rules)
    findings, unread, looked, left_out = [], [], [], []
    for rule in rules:
        requests = rule.asks(of)
        if isinstance(requests, str):
            left_out.append((rule.id, requests))
            continue
        found, trouble, facts = _judged(rule, of, requests, seen)
        findings += [(rule.id, each) for each in found]
        unread += [(rule.id, why) for why in dict.fromkeys(trouble)]
        if not trouble:
            looked.append((rule.id, "; ".join([rule.looks_at, *facts])))
    told_by = {rule.id: rule.told_by for rule in rules}
    return HostDiagnosis(
        host, tuple(_together(findings, told_by)), tuple(unread), tuple(looked), tuple(left_out), loaded=loaded
    )


def _together(
    findings: Sequence[tuple[str, Finding]], told_by: Mapping[str, Sequence[str]]
) -> list[tuple[str, Finding]]:
    """What two rules saw of one fault as one finding: that of the rule that tells it, with what the other one saw."""
    own = [each for each in findings if not told_by[each[0]]]
    rest = []
    for rule, finding in findings:
        if not told_by[rule]:
            continue
        at = next((at for at, (by, other) in enumerate(own) if by in told_by[rule] and _same(finding, other)), None)
        if at is None:
            rest.append((rule, finding))
        else:
            by, other = own[at]
            seen, where = f"{other.seen}; {finding.seen}", f"{other.where}; {finding.where}"
            own[at] = by, replace(other, seen=seen, where=where)
    return sorted([*own, *rest], key=lambda each: each[0])


def _same(one: Finding, other: Finding) -> bool:
    return bool({*one.concerns} & {*other.concerns})


def _judged(
    rule: Rule, of: Asked, requests: Mapping[str, Request], seen: Seen
) -> tuple[list[Finding], list[str], list[str]]:
    """The findings, what could not be read, and what is well."""
    said: dict[str, Any] = {}
    for name, request in requests.items():
        answer = seen.evidence.get(f"{NAME}/{_name(request)}", {"unreadable": "the host did not answer"})
        if "said" not in answer:
            return [], [str(answer.get("unreadable") or "it does not run")], []
        said[name] = answer["said"]
    try:
        results = list(rule.judges(of, said))
    except Exception as error:  # whatever a host's odd value makes of it: it was not seen
        return [], [f"the host's answer can't be judged: {in_words_of(error)}"], []
    found = [each for each in results if isinstance(each, Finding) and of.is_about(*each.concerns)]
    trouble = [each.why for each in results if isinstance(each, Unread)]
    return found, trouble, [each.text for each in results if isinstance(each, Fact)]


def _requests(rule: Rule, of: Asked) -> Mapping[str, Request]:
    requests = rule.asks(of)
    return {} if isinstance(requests, str) else requests


def _name(request: Request) -> str:
    """The same for the same question."""
    return json.dumps(request, sort_keys=True)
