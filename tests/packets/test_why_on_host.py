"""What a host says that its kernel would do, beside what its kernel did: each plain attempt of the battery."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hostguard import why_on_host
from hostguard.attack.aim import STRANGER, Attempt, attempts
from hostguard.attack.case import Holds
from hostguard.bundle import compile_policy
from hostguard.cli.rehearse import accounts
from hostguard.host.program import run
from hostguard.policy.gateway import derive
from hostguard.policy.load import LoadedPolicy, load
from hostguard.policy.why import Question
from hostguard.rehearse import gateway, links, stage
from hostguard.rehearse.host import StagedHost
from hostguard.rehearse.namespaces import perform
from hostguard.seen import Seen
from hostguard.status import Exit
from hostguard.target import local
from hostguard.why_on_host import OnHost
from tests.lab.process import call
from tests.programs import ENVOY

EXAMPLES = Path(__file__).parents[2] / "examples"
# The kernel tells nobody but the machine's own root which legacy tables there are, and `why` then that it can't tell.
pytestmark = [pytest.mark.needs("root", "namespaces"), pytest.mark.alone]

Compared = tuple[Attempt, bool, OnHost]
"""An attempt, whether its packets got out, and what the host says of it."""


def question(attempt: Attempt) -> Question | None:
    """What `why` is asked of an attempt; None for one that is no plain connection."""
    case = attempt.case
    plain = case.way in ("tcp", "udp", "local", "name") and not case.options and not case.leg
    if not plain or case.holds is not Holds.RULES or case.who == "container" or not attempt.address:
        return None
    account = None if attempt.account == STRANGER else attempt.account
    return Question(account, attempt.address, attempt.port, "udp" if case.way == "udp" else "tcp")


def asked(monkeypatch: pytest.MonkeyPatch, loaded: LoadedPolicy, others: Sequence[str] = ()) -> list[Compared]:
    """Rehearse a policy, with `others` as rules of another tool once it is applied, and ask of each attempt then."""
    derived = derive(loaded.policy)
    behind = gateway.behind(derived, ENVOY) if derived else None
    if behind and not behind.why_not:
        loaded = replace(loaded, policy=gateway.staged(loaded.policy))
    assert loaded.policy.egress is not None
    tries = [each for each in attempts(loaded.policy.egress, links.LINK, derived) if question(each)]
    questions = [q for each in tries if (q := question(each))]
    bundles = [why_on_host.compiler(each)(loaded).bundle() for each in questions]

    class Asking(StagedHost):
        def attempt(self, number: int, when: str) -> dict[str, Any]:
            for rule in others if (number, when) == (0, "after") else ():
                run(rule.split(" "))
            told = super().attempt(number, when)
            return {**told, "answer": local.read(bundles[number])} if when == "after" else told

    monkeypatch.setattr(stage, "StagedHost", Asking)
    bundle, names = compile_policy(loaded).bundle(), accounts(loaded.policy)
    found: list[Compared] = []
    for told in perform(lambda everybody, tell: stage.play(bundle, tries, names, everybody, tell, behind)):
        assert "error" not in told, told
        if told.get("when") == "after" and "not tried" not in told:
            each = tries[told["try"]]
            out = told["works"] if each.sanctioned else told["left"] > 0
            seen = Seen.of(bundles[told["try"]], told["answer"])
            found.append((each, bool(out), why_on_host.judge(loaded, questions[told["try"]], "stage", seen)))
    return found


@pytest.mark.parametrize("policy", ["hostguard.yml", "gateway.yml"])
def test_it_agrees_with_every_plain_attempt(monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    found = asked(monkeypatch, load(EXAMPLES / policy))
    assert [(each, out, said) for each, out, said in found if said.may is not out] == []
    assert len(found) > 20
    assert {True, False} == {out for _, out, _ in found}


OTHERS = (
    "iptables -I OUTPUT -d 203.0.113.5/32 -j DROP",
    "iptables -I OUTPUT -d 198.51.100.66/32 -j ACCEPT",
    "iptables -t mangle -A OUTPUT -d 10.0.0.8/32 -m mark --mark 7 -j DROP",
    "nft add table inet other",
    "nft add chain inet other out { type filter hook output priority 10 ; }",
    "nft add rule inet other out ip daddr 10.0.0.3 udp dport 123 drop",
)


def test_it_agrees_where_others_have_rules_before_and_behind_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked(monkeypatch, load(EXAMPLES / "hostguard.yml"), OTHERS)
    assert [(each, out, said) for each, out, said in found if said.may not in (out, None)] == []
    untold = [(each.address, said.addresses[0].words) for each, _, said in found if said.may is None]
    assert {address for address, _ in untold} == {"10.0.0.8"}
    assert len(untold) <= 2
    assert all("--mark 0x7" in words for _, words in untold)
    usual = [(out, said.addresses[0]) for each, out, said in found if each.port in (443, 123)]
    by = {there.address: (out, there.words) for out, there in usual}
    assert by["203.0.113.5"] == (False, "stopped by another's rule `filter OUTPUT -d 203.0.113.5/32 -j DROP`")
    assert by["198.51.100.66"] == (True, "let out by another's rule `filter OUTPUT -d 198.51.100.66/32 -j ACCEPT`")
    assert by["10.0.0.3"] == (False, "stopped by another's rule of `nft list chain inet other out`")


def alone(prepare: str, *words: str) -> tuple[int, str]:
    """Exit code and stdout of `why --here`, as root of a network namespace that is gone afterwards."""
    fence = ["unshare", "--user", "--map-root-user", "--net", "--mount", "--", "sh", "-ec"]
    asks = [sys.executable, "-m", "hostguard", "why", *words, "--here", "--policy", str(EXAMPLES / "hostguard.yml")]
    done = call([*fence, f'{prepare}\nexec "$@"', "sh", *asks], check=False, timeout=60)
    return done.returncode, done.stdout


LINK = (
    "ip link add here type veth peer name there; ip link set there up; ip link set lo up; "
    "ip address add 10.0.0.1/24 dev here; ip link set here up"
)


@pytest.mark.parametrize(
    ("prepare", "words", "code", "says"),
    [
        (LINK, ["root", "10.0.0.3:123", "--udp"], Exit.WELL, "no rule stops it on its way out by here"),
        (LINK, ["root", "10.0.0.3:80"], Exit.FAILED, "differs the policy does not let it, the host does"),
        (LINK, ["root", "127.0.0.1:9"], Exit.FAILED, "differs the policy lets it, and nobody listens there"),
        (LINK, ["shop", "10.0.0.3:123", "--udp"], Exit.UNSEEN, "it has no account shop"),
        ("true", ["root", "10.0.0.3:123", "--udp"], Exit.FAILED, "it has no route there (ENETUNREACH)"),
        (LINK + "; iptables -P OUTPUT DROP", ["root", "10.0.0.3:123", "--udp"], Exit.FAILED,
         "stopped by the policy of `filter OUTPUT`"),
        (LINK + "; iptables -A OUTPUT -m mark --mark 7 -j DROP", ["root", "10.0.0.3:123", "--udp"], Exit.UNSEEN,
         "can't tell: not known whether this holds"),
        (LINK + "; nft 'add table netdev x; add chain netdev x y { type filter hook egress device here priority 0 ; }'",
         ["root", "10.0.0.3:123", "--udp"], Exit.UNSEEN, "`nft list chain netdev x y`"),
    ],
)  # fmt: skip
def test_a_host_s_answer_beside_the_policy_s(prepare: str, words: list[str], code: int, says: str) -> None:
    found, said = alone(prepare, *words)
    assert (found, says in " ".join(said.split())) == (code, True), said
    assert max(map(len, said.splitlines())) <= 80, said


def test_for_programs_the_host_stands_beside_the_policy() -> None:
    found = json.loads(alone(LINK, "root", "10.0.0.3:80", "--format", "json")[1])
    assert (found["schema"], found["may"], found["decides"]["key"]) == ("hostguard.why/1", False, "egress")
    assert (found["host"]["may"], found["host"]["agrees"]) == (True, False)
    assert [each["address"] for each in found["host"]["addresses"]] == ["10.0.0.3"]


def test_asking_changes_no_rule_set_or_counter() -> None:
    rules = "ipset create a hash:net,port; iptables -A OUTPUT -m set --match-set a dst,dst -j DROP"
    saved = "{ iptables-save -c; ip6tables-save -c; nft list ruleset; ipset save; } | grep -v '^#'"
    prepare = f"""{LINK}; {rules}
"$@" > /dev/null || true
before=$({saved})
"$@" > /dev/null || true
[ "$before" = "$({saved})" ] && set -- echo the same"""
    assert alone(prepare, "root", "10.0.0.3:123", "--udp") == (0, "the same\n")
