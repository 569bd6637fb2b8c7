"""A rule of the diagnosis, held against what a host says: by the whole way that an answer takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hostguard.diagnose import diagnosis
from hostguard.diagnose.diagnosis import HostDiagnosis
from hostguard.diagnose.rule import Asked, Finding, Rule
from hostguard.policy.load import load
from hostguard.seen import Seen

EXAMPLES = Path(__file__).parents[2] / "examples"


def asked(policy: str = "hostguard.yml", **more: Any) -> Asked:
    """A question about the example policy, or another one of the examples."""
    return Asked(load(EXAMPLES / policy), **more)


def diagnosed(rule: Rule, of: Asked, said: Mapping[str, Any]) -> HostDiagnosis:
    """What becomes of a host that says this to each of the rule's requests, by the rule's own names for them; an
    Exception is what it could not read."""
    requests = rule.asks(of)
    if isinstance(requests, str):
        return diagnosis.judge(of, "web1", of.loaded, Seen((), {}, {}), [rule])
    answer: dict[str, Any] = {"resources": [], "observations": {}, "leftovers": None, "evidence": {}}
    bundle = diagnosis.compiler(replace(of), [rule])(of.loaded).bundle()
    for name, request in bundle["evidence"].items():
        mine = next(key for key, each in requests.items() if each == request)
        told = said[mine]
        answer["evidence"][name] = {"unreadable": str(told)} if isinstance(told, Exception) else {"said": told}
    return diagnosis.judge(of, "web1", of.loaded, Seen.of(bundle, answer), [rule])


def findings(rule: Rule, of: Asked, said: Mapping[str, Any]) -> list[Finding]:
    """The findings alone, of a host of which everything could be read."""
    found = diagnosed(rule, of, said)
    assert found.unread == (), found.unread
    return [finding for _, finding in found.findings]
