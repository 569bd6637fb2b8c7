"""The recipes: each is a valid policy, its sanctioned ways work, and strangers' ways out are held."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hostguard.attack.aim import ENEMIES, NAMED, STRANGER, Attempt, sanctioned
from hostguard.attack.case import case
from hostguard.cli.rehearse import accounts
from hostguard.policy.destinations import ASKER
from hostguard.policy.load import load
from hostguard.rehearse.outcome import Word
from tests.packets.test_rehearse import rehearse, rules_of, wrong

RECIPES = sorted((Path(__file__).parents[2] / "examples" / "recipes").glob("*.yml"))
FOREIGN = {
    "a stranger": (ENEMIES[0], 443),
    "the metadata service": ("169.254.169.254", 80),
    "a host of the network": ("10.66.66.66", 22),
}
recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)


def by(account: str, address: str, port: int, way: str, what: str) -> Attempt:
    return Attempt(case("", "application", f"{what}, by {account}", way, layer="TCP"), account, address, port)


def of_the_recipe(recipe: Path) -> Iterator[Attempt]:
    """Every account that the policy names tries elsewhere; an account that it does not name tries all that it names."""
    policy = load(recipe).policy
    assert policy.egress is not None
    for account in sorted({*accounts(policy), STRANGER} - {ASKER}):
        for what, (address, port) in FOREIGN.items():
            yield by(account, address, port, "tcp", what)
    for way in sanctioned(policy.egress):
        if way.account != STRANGER and way.case.way in ("tcp", "udp", "name"):
            address = NAMED if way.case.way == "name" else way.address
            yield by(STRANGER, address, way.port, way.case.way.replace("name", "tcp"), way.name)


def test_there_are_recipes() -> None:
    assert [recipe.stem for recipe in RECIPES] == ["ai-agent", "ci-runner", "payments-gateway"]


@recipes
def test_a_recipe_is_valid_and_warns_of_nothing(recipe: Path) -> None:
    command = [sys.executable, "-m", "hostguard", "validate", str(recipe)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.needs("root", "namespaces", "dnsmasq", "envoy")
@pytest.mark.alone
@recipes
def test_a_recipe_holds_strangers_and_its_own_ways_work(recipe: Path) -> None:
    beside = list(of_the_recipe(recipe))
    outcome = rehearse(lambda _: None, recipe, beside)
    assert wrong(outcome) == []
    assert outcome.sound
    assert outcome.figure().allowed == sum(bool(attempt.sanctioned) for attempt in outcome.tries) > 7
    held = [verdict.word for verdict in outcome.verdicts()[-len(beside) :]]
    assert held == [Word.HELD] * len(beside)
    assert len(beside) > 12


@pytest.mark.needs("root", "namespaces", "dnsmasq")
@pytest.mark.alone
def test_an_agent_that_may_go_anywhere_is_seen() -> None:
    def anywhere(bundle: dict[str, Any]) -> None:
        for _, rules in rules_of(bundle, "HOSTGUARD-OUTPUT"):
            rules.insert(0, "-m owner --uid-owner agent -j ACCEPT")

    agent = next(recipe for recipe in RECIPES if recipe.stem == "ai-agent")
    beside = list(of_the_recipe(agent))
    out = wrong(rehearse(anywhere, agent, beside))
    assert {attempt.name for attempt in out if attempt in beside} == {f"{what}, by agent" for what in FOREIGN}
