"""May this account reach this destination: each answer names the line that decides, and agrees with the battery."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hostguard.attack.aim import STRANGER, attempts
from hostguard.attack.case import Holds
from hostguard.cli.failure import Stop
from hostguard.cli.main import app
from hostguard.policy.gateway import derive
from hostguard.policy.load import load
from hostguard.policy.why import Question, answer
from hostguard.status import Exit

ROOT = Path(__file__).parents[2]
GATEWAY = ROOT / "examples" / "gateway.yml"
EXAMPLE = ROOT / "examples" / "hostguard.yml"
POLICIES = [GATEWAY, EXAMPLE, *sorted((ROOT / "examples" / "recipes").glob("*.yml"))]


def asked(*words: str, policy: Path = GATEWAY) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["why", *words, "--policy", str(policy)])
    return result.exit_code, result.stdout


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["envoy", "api.provider.com"], Exit.WELL, "egress.providers.payments.hosts[0]"),
        (["shop", "api.provider.com"], Exit.FAILED, "egress.via"),
        (["shop", "api.provider.com"], Exit.FAILED, "http://127.0.0.84:84"),
        (["envoy", "api.provider.com:80"], Exit.FAILED, "on port 443 alone"),
        (["envoy", "API.Provider.com."], Exit.WELL, "api.provider.com"),
        (["shop", "127.0.0.84:84"], Exit.WELL, "gateway.providers.payments.users"),
        (["other", "127.0.0.84:84"], Exit.FAILED, "gateway.providers.payments.users"),
        (["shop", "127.0.0.84:85"], Exit.FAILED, "gateway.address"),
        (["prometheus", "127.0.0.84:90"], Exit.WELL, "gateway.metrics.users"),
        (["shop", "127.0.0.83:53", "--udp"], Exit.FAILED, "egress.resolver_users"),
        (["dnsmasq", "10.0.0.2:53", "--udp"], Exit.WELL, "egress.resolvers[0]"),
        (["envoy", "10.0.0.2:53"], Exit.FAILED, "egress.resolvers"),
        (["root", "10.0.0.3:123", "--udp"], Exit.WELL, "egress.time_servers[0]"),
        (["envoy", "203.0.113.9"], Exit.UNSEEN, "while one of these names leads to it"),
        (["envoy", "203.0.113.9:80"], Exit.FAILED, "what is not named is dropped"),
        (["evil.example"], Exit.FAILED, "does not know it"),
        (["[2001:db8::1]:443"], Exit.FAILED, "[2001:db8::1]:443/tcp"),
        (["::1"], Exit.WELL, "it stays on the host"),
        (["root", "[::ffff:10.0.0.3]:123", "--udp"], Exit.WELL, "egress.time_servers[0]"),
        (["shop", "::ffff:127.0.0.84"], Exit.FAILED, "gateway.address"),
    ],
)
def test_it_names_what_decides(words: list[str], code: int, says: str) -> None:
    assert (code, True) == ((found := asked(*words))[0], says in " ".join(found[1].split())), found[1]


@pytest.mark.parametrize(
    "words",
    [
        ["a", "b", "c"],
        ["Shop", "api.provider.com"],
        ["x y"],
        ["api.provider.com:0"],
        ["*.provider.com"],
        [""],
        ["fe80::1%eth0"],
    ],
)
def test_what_it_can_not_be_asked(words: list[str]) -> None:
    result = CliRunner().invoke(app, ["why", *words, "--policy", str(GATEWAY)])
    assert isinstance(result.exception, Stop)
    assert (result.exception.exit, "expected" in str(result.exception), result.stdout) == (Exit.CALL, True, "")


def test_the_entry_that_it_proposes_opens_it(tmp_path: Path) -> None:
    _, said = asked("shop", "192.0.2.7:8443")
    entry = " ".join(said.split()).partition("would open it: NAME: ")[2]
    text = GATEWAY.read_text(encoding="utf-8").replace("  inbound:", f"  services:\n    ledger: {entry}\n  inbound:")
    policy = tmp_path / "hostguard.yml"
    (tmp_path / "schemas").symlink_to(GATEWAY.parent / "schemas")
    policy.write_text(text, encoding="utf-8")
    assert asked("shop", "192.0.2.7:8443", policy=policy)[0] == Exit.WELL
    assert asked("other", "192.0.2.7:8443", policy=policy)[0] == Exit.FAILED


def test_for_programs() -> None:
    found = json.loads(asked("shop", "api.provider.com", "--format", "json")[1])
    assert found["schema"] == "hostguard.why/1"
    assert (found["may"], found["decides"]["key"]) == (False, "egress.via")
    line = GATEWAY.read_text(encoding="utf-8").splitlines()[found["decides"]["line"] - 1]
    assert line.strip().startswith("via:")


@pytest.mark.parametrize("policy", POLICIES, ids=lambda path: path.stem)
def test_it_agrees_with_what_is_tried_on_the_wire(policy: Path) -> None:
    """The rehearsal judges each of these attempts by its packets."""
    loaded = load(policy).policy
    assert loaded.egress is not None
    compared = 0
    for each in attempts(loaded.egress, gateway=derive(loaded)):
        case = each.case
        plain = case.way in ("tcp", "udp", "local") and not case.options and not case.leg and case.holds is Holds.RULES
        if not plain or each.sanctioned is None or case.who == "container" or not each.address:
            continue
        protocol = "udp" if case.way == "udp" else "tcp"
        account = None if each.account == STRANGER else each.account
        found = answer(loaded, Question(account, each.address, each.port, protocol))
        wanted = each.sanctioned or loaded.egress.mode == "observe"
        # By address alone: in the rehearsal's world no name leads there.
        assert bool(found.may) is wanted, (each, found)
        compared += 1
    assert compared > 5
