"""The plan: what it counts, what it says of hosts that are alike, and when a saved one is still true."""

from __future__ import annotations

import copy
import io
import json
from typing import Any

import pytest
from rich.console import Console

from hostguard import planned
from hostguard.cli.plan import DIFFERENT, _code
from hostguard.host.resource import Difference
from hostguard.planned import NotThisPlan, Planned
from hostguard.report import plan
from hostguard.seen import Seen
from hostguard.status import Exit
from tests.unit import hostile

COMPILED = hostile.asked()
TRUE = hostile.true_answer(COMPILED)


def of(answer: dict[str, Any]) -> Planned:
    return planned.of(COMPILED, Seen.of(COMPILED.bundle(), answer))


def changed() -> dict[str, Any]:
    """A host on which two parameters and a file are not as wanted."""
    answer = copy.deepcopy(TRUE)
    answer["observations"]["sysctl:net.ipv4.tcp_fin_timeout"][1]["live"] = "60"
    answer["observations"]["sysctl:net.ipv4.tcp_tw_reuse"][1]["boot"] = None
    answer["observations"]["file:/etc/security/limits.d/zz-hostguard.conf"] = ["absent", None, ""]
    return answer


def printed(*plans: tuple[str, Planned | str], brief: bool = False) -> str:
    console = Console(file=io.StringIO(), width=100, soft_wrap=True)
    if len(plans) == 1 and not isinstance(plans[0][1], str):
        plan.show(console, plans[0][1], brief=brief)
    else:
        plan.fleet(console, plans, brief=brief)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_added_changed_and_removed_is_counted() -> None:
    assert dict(of(changed()).count) == {"change": 1, "add": 2}
    assert "2 to add, 1 to change, 0 to remove, of 3 controls" in printed(("a", of(changed())))
    assert "No difference" in printed(("a", of(TRUE)))


def test_a_new_file_is_a_line_and_rules_stand_once() -> None:
    text = printed(("a", of(changed())))
    assert "zz-hostguard.conf · content: 5 lines" in text
    answer = copy.deepcopy(TRUE)
    identity = next(r["id"] for r in TRUE["resources"] if r["kind"] == "ruleset")
    answer["observations"][identity][1].update(rules=None, jumps=[])
    text = printed(("a", of(answer)))
    rule = next(r["rules"][-1] for r in TRUE["resources"] if r["id"] == identity)
    assert text.count(f"+{rule}") == 1


def test_brief_is_a_line_a_control() -> None:
    text = printed(("a", of(changed())), brief=True)
    assert "kernel.fin-timeout: 1 to change\n" in text
    assert "→" not in text


def test_hosts_that_are_alike_stand_once_and_all_are_in_the_table() -> None:
    plans = [("b", of(changed())), ("a", of(TRUE)), ("c", of(changed())), ("d", "no route to it")]
    text = printed(*plans)
    assert text.count("kernel.fin-timeout") == 1
    assert "b, c (2 hosts alike)" in text
    assert "not reached: no route to it" in text
    rows = [line.split() for line in text.splitlines()[-4:]]
    assert [row[:4] for row in rows] == [["b", "2", "1", "0"], ["a", "0", "0", "0"], ["c", "2", "1", "0"],
                                         ["d", "not", "reached"]]  # fmt: skip


def test_exit_codes() -> None:
    blocked = Planned([(TRUE["resources"][0], [Difference("f", "a", "b", "remove it")])])
    assert _code([("a", of(TRUE))], detailed=True) == 0
    assert _code([("a", of(changed()))], detailed=False) == 0
    assert _code([("a", of(changed()))], detailed=True) == DIFFERENT
    assert _code([("a", of(changed())), ("b", "silent")], detailed=True) == Exit.UNSEEN
    assert _code([("a", of(TRUE)), ("b", blocked)], detailed=True) == Exit.FAILED
    assert _code([("a", "silent"), ("b", blocked)], detailed=True) == Exit.UNSEEN
    assert "In the way (apply refuses until it is gone):\n  ! remove it" in printed(("a", blocked))


def test_every_account_that_lacks_is_one_reason() -> None:
    lacking = {**TRUE["resources"][0], "blocked": "the account a does not exist; the group b does not exist"}
    found = Planned([(lacking, [Difference("prerequisite", "missing", "present", lacking["blocked"])])])
    assert found.blocked == ["the account a does not exist", "the group b does not exist"]


def saved(host: str = "a", sha256: str = "s") -> bytes:
    return planned.render("p.yml", sha256, [("z", "silent"), (host, of(changed()))]).encode()


def test_a_saved_plan_is_applied_as_long_as_it_is_true() -> None:
    planned.must_be(saved(), "a", "s", of(changed()))
    plain = json.loads(saved())
    assert plain["schema"] == "hostguard.plan/1"
    assert plain["hosts"][0] == {"host": "z", "error": "silent"}
    assert plain["hosts"][1]["summary"] == {"add": 2, "change": 1, "remove": 0}


@pytest.mark.parametrize(
    ("raw", "host", "sha256", "said"),
    [
        (saved(), "b", "s", "no plan of this host"),
        (saved(), "z", "s", "no plan of this host"),
        (saved(), "a", "t", "another one now"),
        (saved().replace(b'"60"', b'"61"'), "a", "s", "not as it was"),
        (saved().replace(b"plan/1", b"plan/2"), "a", "s", "schema"),
        (b"", "a", "s", "no plan"),
        (b"[]", "a", "s", "no plan"),
        (b"\xff", "a", "s", "no plan"),
        (b"[" * 100_000, "a", "s", "no plan"),
    ],
)
def test_one_that_is_not_true_any_more_is_refused(raw: bytes, host: str, sha256: str, said: str) -> None:
    with pytest.raises(NotThisPlan, match=said):
        planned.must_be(raw, host, sha256, of(changed()))
